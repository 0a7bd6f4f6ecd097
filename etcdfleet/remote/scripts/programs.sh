#!/bin/sh
# What etcd runs and what its next start would run. Function: service_program, the path that our unit or script starts.
# What stands before it sets $pid, the process id of etcd, empty if it does not run; it is no value, since its probe finds it.
path=$(service_program 2>/dev/null)
[ -z "$path" ] || printf 'program=%s\nprogram_file=%s\n' "$path" "$(readlink -f "$path")"
if [ -n "${pid-}" ]; then
  # Since when it runs, without a process more: both in seconds since the boot, the second one in hundredths.
  if { read -r up _ </proc/uptime && read -r ran <"/proc/$pid/stat"; } 2>/dev/null; then
    # shellcheck disable=SC2086  # its words; a blank may be in the name before the last parenthesis
    set -- ${ran##*) }
    echo "ran=$up ${20}"
  fi
  runs=$(readlink "/proc/$pid/exe" 2>/dev/null)
  # Under user-mode emulation that is the emulator. The program that it emulates is mapped into its memory, as any is.
  case "$runs" in
    */etcd | *'/etcd (deleted)') ;;
    *) runs=$(sed -n 's|^[^/]* \(/.*/etcd\( (deleted)\)*\)$|\1|p' "/proc/$pid/maps" 2>/dev/null | head -n 1) ;;
  esac
  echo "runs=$runs"
fi

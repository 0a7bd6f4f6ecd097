"""Shell that opens a member's ports for a moment, and connects to those of others, before there is any etcd.

Perl is on every Debian (``perl-base`` is essential there), busybox's ``nc`` on every Alpine. A host with neither says
nothing, and nothing is concluded from that.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from etcdfleet import timeouts

LISTENS = "listens"

_LISTEN = r"""
my ($life, $host, @ports) = @ARGV;
my @open;
for my $port (@ports) {
  my ($error, $at) = getaddrinfo($host, $port, {flags => AI_NUMERICHOST, socktype => SOCK_STREAM});
  die "$error\n" if $error;
  socket(my $socket, $at->{family}, SOCK_STREAM, 0) or die "$!\n";
  setsockopt($socket, SOL_SOCKET, SO_REUSEADDR, 1);
  (bind($socket, $at->{addr}) and listen($socket, 64)) or die "$port: $!\n";
  push @open, $socket;
}
$| = 1;
print "listens\n";
alarm $life;
1 while <STDIN>;
"""
_CONNECT = r"""
my ($limit, @targets) = @ARGV;
my %waiting;
for my $target (@targets) {
  my ($host, $port) = split /,/, $target;
  my ($error, $at) = getaddrinfo($host, $port, {flags => AI_NUMERICHOST, socktype => SOCK_STREAM});
  if ($error or not socket(my $socket, $at->{family}, SOCK_STREAM, 0)) { print "$target ", $error || $!, "\n" }
  else {
    fcntl($socket, F_SETFL, fcntl($socket, F_GETFL, 0) | O_NONBLOCK);
    if (connect($socket, $at->{addr})) { print "$target open\n" }
    elsif ($!{EINPROGRESS}) { $waiting{fileno $socket} = [$target, $socket] }
    else { print "$target $!\n" }
  }
}
my $end = time + $limit;
while (%waiting and time < $end) {
  my $bits = "";
  vec($bits, $_, 1) = 1 for keys %waiting;
  select(undef, $bits, undef, 1);
  for my $number (grep { vec($bits, $_, 1) } keys %waiting) {
    my ($target, $socket) = @{delete $waiting{$number}};
    $! = unpack("i", getsockopt($socket, SOL_SOCKET, SO_ERROR));
    print "$target ", $! + 0 ? "$!" : "open", "\n";
  }
}
print "$_->[0] time-out\n" for values %waiting;
"""


def listen(address: str, ports: Sequence[int]) -> str:
    """Listens on the ports of ``address`` until its input ends; its first line is `LISTENS`, or why it cannot.

    For `RemoteHost.hold`: with the connection, or the run, what it opened ends as well.
    """
    perl = shlex.join(["perl", "-MSocket=:all", "-e", _LISTEN, str(timeouts.LISTEN), address, *map(str, ports)])
    numbers = " ".join(map(str, ports))
    # busybox's nc says nothing once it listens.
    return f"""if command -v perl >/dev/null; then {perl} || echo failed
elif command -v nc >/dev/null; then
  pids=
  for port in {numbers}; do nc -lk -s {address} -p $port -e true </dev/null >/dev/null 2>&1 & pids="$pids $!"; done
  n=0 open=0
  while [ $n -lt 20 ] && [ $open -lt {len(ports)} ]; do
    open=0
    for port in {numbers}; do netstat -ltn | grep -q ":$port " && open=$((open + 1)); done
    n=$((n + 1)); [ $open = {len(ports)} ] || sleep 0.1
  done
  if [ $open = {len(ports)} ]; then echo {LISTENS}; timeout {timeouts.LISTEN} cat >/dev/null; else echo failed; fi
  kill $pids 2>/dev/null
else echo neither perl nor nc is there
fi
exit 0
"""


def connect(targets: Sequence[tuple[str, int]]) -> str:
    """Connects to addresses and ports, all side by side; a line ``ADDRESS,PORT RESULT`` for each."""
    words = [f"{address},{port}" for address, port in targets]
    modules = ["-MSocket=:all", "-MFcntl", "-MErrno"]
    perl = shlex.join(["perl", *modules, "-e", _CONNECT, str(timeouts.REACH), *words])
    tries = "\n".join(f"  try {address} {port} &" for address, port in targets)
    return f"""if command -v perl >/dev/null; then {perl}
elif command -v nc >/dev/null; then
  try() {{
    said=$(timeout {timeouts.REACH} nc -n -vv -z $1 $2 </dev/null 2>&1)
    case $? in 0) said=open;; 124 | 143) said=time-out;; esac
    echo "$1,$2 $said"
  }}
{tries}
  wait
fi"""


def routes(targets: Sequence[str]) -> str:
    """The host's addresses, then for each address of ``targets`` the route there."""
    asked = "\n".join(f"echo '= {address}'; ip route get {address} 2>&1" for address in targets)
    return f"command -v ip >/dev/null || exit 0\nip -o addr show\n{asked}"

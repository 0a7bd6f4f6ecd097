# Shell completion of the runbooks for bash. In ~/.bashrc:
#
#   . /path/to/etcdfleet/runbooks/completion.bash
#
# Completes `runbooks/deploy.py …` and `python3 runbooks/deploy.py …`, from any folder. Other scripts are completed as
# before.

_etcdfleet_folder=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)

# Prints what can follow, separated by \013. Arguments: the shell, which word the runbook is, the runbook as typed.
_etcdfleet_ask() {
    local script=${3/#\~\//$HOME/} python=$_etcdfleet_folder/../.venv/bin/python
    [ -x "$python" ] || python=python3
    _ARGCOMPLETE=$2 _ARGCOMPLETE_SHELL=$1 _ARGCOMPLETE_IFS=$'\013' _ARGCOMPLETE_SUPPRESS_SPACE=1 \
        _ARGCOMPLETE_COMP_WORDBREAKS=${COMP_WORDBREAKS-} ETCDFLEET_COMPLETES_PATHS=1 \
        "$python" "$script" 8>&1 9>/dev/null >/dev/null 2>&1 </dev/null
}

# Whether a word is one of the runbooks beside this file.
_etcdfleet_is_ours() {
    local script=${1/#\~\//$HOME/} folder=.
    [ -f "$script" ] || return 1
    case $script in */*) folder=${script%/*} ;; esac
    case ${script##*/} in _*|*[!a-z_.]*) return 1 ;; *.py) ;; *) return 1 ;; esac
    [ "$folder" -ef "$_etcdfleet_folder" ]
}

_etcdfleet_complete() {
    local number=1 script=$1 IFS=$'\013'
    case ${1##*/} in python*) number=2 script=${COMP_WORDS[1]-} ;; esac
    COMPREPLY=()
    if [ "$COMP_CWORD" -lt "$number" ] || ! _etcdfleet_is_ours "$script"; then
        # As if we were not there. bash-completion's own for python is loaded on demand, and would replace us.
        compopt -o default -o bashdefault
        return
    fi
    # shellcheck disable=SC2207  # split at IFS, which is \013 here
    COMPREPLY=($(COMP_LINE=$COMP_LINE COMP_POINT=$COMP_POINT COMP_TYPE=$COMP_TYPE \
        _etcdfleet_ask bash "$number" "$script"))
    case ${COMPREPLY[0]-} in
        *@files*) COMPREPLY=() && compopt -o default -o filenames ;;
        *=) compopt -o nospace ;;
    esac
}
# shellcheck disable=SC2046  # a name each
complete -F _etcdfleet_complete python python3 $(cd "$_etcdfleet_folder" && printf '%s ' [a-z]*.py)

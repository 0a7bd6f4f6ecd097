# Shell completion of the runbooks for zsh. In ~/.zshrc, below compinit:
#
#   . /path/to/etcdfleet/runbooks/completion.zsh
#
# Completes `runbooks/deploy.py …` and `python3 runbooks/deploy.py …`, from any folder. Other scripts are completed as
# before.

_etcdfleet_folder=${${(%):-%x}:A:h}

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
    local -a answers
    local number=1
    [[ ${words[1]:t} == python* ]] && number=2
    if ! _etcdfleet_is_ours "${(Q)words[$number]}" || (( CURRENT <= number )); then
        if (( number == 2 )) && (( $+functions[_python] )); then _python; else _default; fi
        return
    fi
    answers=(${(ps:\013:)"$(COMP_LINE=$BUFFER COMP_POINT=$CURSOR _etcdfleet_ask zsh $number "${(Q)words[$number]}")"})
    if [[ ${answers[1]-} == *@files* ]]; then
        compset -P '*='
        _files
    else
        _describe runbook answers
    fi
}
compdef _etcdfleet_complete python python3 "$_etcdfleet_folder"/[a-z]*.py(:t)

# SPDX-License-Identifier: Apache-2.0
# Sourced by the scripts, to look at their arguments before they install or build anything: a mistake costs no minutes.

script_name=$(basename "$(dirname "$0")")/$(basename "$0")

# The comment at the head of the script.
show_help() { sed -n '3,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; }

show_version() {
  echo "$script_name $(sed -n 's/^project(chiral VERSION \([0-9.]*\).*/\1/p' "$(dirname "$0")/../CMakeLists.txt")"
}

complain() {
  echo "$script_name: $1; see $script_name --help" >&2
  exit 2
}

# check_value OPTION KIND VALUE; a KIND with | in it names the values: ws|local
check_value() {
  case "$2" in
    number) [[ "$3" =~ ^([0-9]+\.?[0-9]*|\.[0-9]+)$ ]] && [[ "$3" =~ [1-9] ]] || complain "$1 needs a positive number, not '$3'" ;;
    count) [[ "$3" =~ ^[0-9]+$ ]] || complain "$1 needs a whole number, not '$3'" ;;
    positive) [[ "$3" =~ ^0*[1-9][0-9]*$ ]] || complain "$1 needs a positive whole number, not '$3'" ;;
    size) [[ "$3" =~ ^[1-9][0-9]*x[1-9][0-9]*$ ]] || complain "$1 needs WIDTHxHEIGHT, for example 640x480, not '$3'" ;;
    file)
      [ -n "$3" ] || complain "$1 needs the name of a file"
      [ ! -d "$3" ] || complain "$1: '$3' is a folder"
      [ -d "$(dirname -- "$3")" ] || complain "$1: there is no folder '$(dirname -- "$3")'" ;;
    *"|"*)
      case "$3" in *"|"*) false ;; *) [[ "|$2|" == *"|$3|"* ]] ;; esac || complain "$1 needs one of ${2//|/, }, not '$3'" ;;
    text) [ -n "$3" ] || complain "$1 needs a value" ;;
  esac
}

# check_arguments "OPTION[=KIND]..." ARGUMENT...
#
# Ends with exit code 0 after --help and --version, and with 2 at the first argument that is not among the options, or whose value is not of
# its kind.
check_arguments() {
  local options=$1 name value kind option
  shift
  while [ $# -gt 0 ]; do
    name=${1%%=*}
    case "$name" in
      -h | --help) show_help; exit 0 ;;
      --version) show_version; exit 0 ;;
    esac
    kind=unknown
    for option in $options; do
      if [ "${option%%=*}" = "$name" ]; then case "$option" in *=*) kind=${option#*=} ;; *) kind=none ;; esac; fi
    done
    case "$kind" in
      unknown) complain "'$name' is not known" ;;
      none) [ "$name" = "$1" ] || complain "$name takes no value" ;;
      *)
        if [ "$name" = "$1" ]; then
          [ $# -gt 1 ] || complain "$name needs a value"
          value=$2
          shift
        else
          value=${1#*=}
        fi
        check_value "$name" "$kind" "$value" ;;
    esac
    shift
  done
}

# Claim a name: whoever can create the file has it. $1 the file, $2 who; exit 9 when somebody else has it.
set -o noclobber
{ echo "$2" > "$1"; } 2> /dev/null || exit 9

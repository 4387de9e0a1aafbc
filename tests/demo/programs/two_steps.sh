# One output file from two commands with a pause between them.
# $1 the file, $2 the first text, $3 the second text
{ echo "$2"; sleep 0.3; echo "$3"; } > "$1"

#!/bin/sh
# pair.sh COMMAND COMMAND: runs two programs, each one's standard output being the other's standard input, and prints "ok pair" when both have
# succeeded. With $RUN0 and $RUN1 (words, split at spaces) the first is run by the one and the second by the other, for instance in two domains.
# Each is a command with arguments in one word, which is split at spaces, too.
[ $# = 2 ] || { echo "usage: pair.sh COMMAND COMMAND" >&2; exit 2; }
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
mkfifo "$dir/there" "$dir/back" || exit 1
# In the order in which each opens its two ends, so that neither waits for what the other opens later.
# shellcheck disable=SC2086
$RUN0 $1 >"$dir/there" <"$dir/back" &
first=$!
# shellcheck disable=SC2086
$RUN1 $2 <"$dir/there" >"$dir/back"
second=$?
wait $first
first=$?
[ $first = 0 ] && [ $second = 0 ] && { echo "ok pair"; exit 0; }
echo "pair.sh: exit status $first and $second" >&2
exit 1

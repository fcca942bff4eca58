#!/bin/sh
# Shell redirection, dd, head, stat and test on the device; for dash, with coreutils. Usage: redirect.sh [DEVICE] [-SUBTEST...]
dev=${XEN_EVTCHN:-/dev/xen/evtchn} without=
for a; do
	case $a in
	/*) dev=$a ;;
	-stat-link|-odd-counts) without="$without $a " ;;
	*) echo "redirect.sh: no subtest is named $a" >&2; exit 2 ;;
	esac
done
wanted() { case $without in *" -$1 "*) return 1 ;; esac; }
LC_ALL=C; export LC_ALL
out=$(mktemp) || exit 1
trap 'rm -f "$out"' EXIT
bad=0
# is WHAT GOT WANTED
is() { [ "$2" = "$3" ] || { echo "redirect.sh: $1: '$2', not '$3'" >&2; bad=1; }; }
has() { grep -q "$2" "$out" || { echo "redirect.sh: $1: no '$2' in: $(cat "$out")" >&2; bad=1; }; }

exec 3<>"$dev";                                     is 'exec 3<>' $? 0
printf '\001\000\000\000' >&3;                      is 'printf to 3' $? 0
timeout 0.3 head -c 4 <&3 >"$out";                  is 'head from 3 blocks' $? 124
is 'readlink of 3' "$(readlink /proc/$$/fd/3)" "$dev"
( printf '\000\000\000\000' >&3 );                  is 'printf to 3 in a subshell' $? 0
exec 4<&3 3>&-;                                     is 'exec 4<&3 3>&-' $? 0
printf '\001\000\000\000' 2>/dev/null >&4;          is 'printf to 4' $? 0
exec 4>&-

timeout 0.3 head -c 4 <"$dev" >"$out";              is 'head blocks' $? 124
is 'head read nothing' "$(wc -c <"$out")" 0
head -c 0 <"$dev" >"$out";                          is 'head -c 0' $? 0
printf '\001\000\000\000' >"$dev";                  is 'printf >' $? 0
printf '\001\000\000\000' >>"$dev";                 is 'printf >>' $? 0
printf '\001\000\000\000' 1<>"$dev";                is 'printf 1<>' $? 0
timeout 5 cat </dev/null >"$dev";                   is 'cat /dev/null >' $? 0
timeout 0.3 cat "$dev" >"$out";                     is 'cat blocks' $? 124
# a name in a pipeline, and a here-document
head -c 8 /dev/zero | cat >"$dev";                  is 'a pipeline' $? 0
( set -C; : >"$dev" );                              is 'noclobber lets a device through' $? 0

[ -c "$dev" ];                                      is 'test -c' $? 0
[ -r "$dev" ];                                      is 'test -r' $? 0
[ -w "$dev" ];                                      is 'test -w' $? 0
[ -e "$dev" ];                                      is 'test -e' $? 0
[ -x "$dev" ];                                      is 'test -x' $? 1
[ -f "$dev" ];                                      is 'test -f' $? 1
[ -s "$dev" ];                                      is 'test -s' $? 1
ls -l "$dev" >"$out";                               is 'ls -l' $? 0
is 'the first letter of ls -l' "$(cut -c 1-10 "$out")" crw-------
is 'stat -c %F' "$(stat -c %F "$dev")" 'character special file'
is 'stat -c %a' "$(stat -c %a "$dev")" 600
wanted stat-link &&
is 'stat -L of 3' "$(stat -L -c %F /dev/fd/3 3<>"$dev")" 'character special file'

timeout 5 dd if="$dev" bs=4 count=1 iflag=nonblock >/dev/null 2>"$out"; is 'dd nonblock' $? 1
has 'dd nonblock' 'Resource temporarily unavailable'
timeout 5 dd if=/dev/zero of="$dev" bs=8 count=1 2>"$out";              is 'dd of' $? 0
has 'dd of' '^8 bytes copied'
has 'dd of' '^1+0 records out'
timeout 5 dd if=/dev/zero bs=8192 count=1 2>"$out" >"$dev";             is 'dd of 8192' $? 0
has 'dd of 8192' '^8192 bytes'
if wanted odd-counts; then # dd's files are its standard input and output
	timeout 5 dd if=/dev/zero of="$dev" bs=7 count=1 2>"$out" # 4 are taken, then 0 of the other 3
	has 'dd of 7 bytes' '^0+1 records out\|^4 bytes'
	timeout 5 dd if="$dev" bs=3 count=1 2>"$out";                   is 'dd of 3 bytes' $? 0
	has 'dd of 3 bytes' '^0 bytes'
fi

[ $bad = 0 ] && echo 'ok redirect'
exit $bad

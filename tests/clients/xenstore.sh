#!/bin/sh
# xenstored in one domain, its own test there, and the tools from another: reading, writing, permissions, watches. See store.sh. Prints "ok xenstore.sh".
# shellcheck disable=SC2154,SC2086
. "$(dirname "$0")/store.sh"

expect() { # WHAT COMMAND...: it prints that
	expected=$1
	shift
	got=$("$@" 2>"$dir/err") || die "$* failed: $(cat "$dir/err")"
	[ "$got" = "$expected" ] || die "$* printed '$got', not '$expected'"
}
refused() { if "$@" >/dev/null 2>"$dir/err"; then die "$* succeeded"; fi; }

in0 "$xen/test-xenstore" -i "${ITERATIONS:-200}" >"$dir/test" || die "test-xenstore failed: $(cat "$dir/test")"
tail -1 "$dir/test"

home=/local/domain/$DOM1
in1 xenstore-rm data/test 2>/dev/null
expect "$DOM1" in1 xenstore-read domid
expect "$DOM1" in1 xenstore-read $home/domid
in1 xenstore-write data/test/a 1 data/test/b 2 || die "writing from domain $DOM1 failed"
expect 2 in0 xenstore-read $home/data/test/b
in0 xenstore-write $home/data/test/b three || die "writing from domain $DOM0 failed"
expect three in1 xenstore-read data/test/b
expect "a
b" in1 xenstore-list data/test
expect 'a = "1"
b = "three"' in1 xenstore-ls data/test

# Its own part only.
refused in1 xenstore-write /local/domain/$DOM0/data-of-others x
refused in1 xenstore-read data/test/nothing
in0 xenstore-write /local/domain/$DOM0/secret x || die "writing failed"
refused in1 xenstore-read /local/domain/$DOM0/secret
in0 xenstore-chmod /local/domain/$DOM0/secret "n$DOM0" "r$DOM1" || die "chmod failed"
expect x in1 xenstore-read /local/domain/$DOM0/secret
in0 xenstore-rm /local/domain/$DOM0/secret

# A value as long as they may be here, by a process for each.
long=$(head -c 2000 /dev/zero | tr '\0' y)
in1 xenstore-write data/test/long "$long" || die "a long value can't be written"
expect "$long" in0 xenstore-read $home/data/test/long
expect "$long" in1 xenstore-read data/test/long

# Watches, in both directions. The first line says that the watch is set.
watch() { # WATCHER PATH SEEN WRITER PATH
	: >"$dir/seen"
	$1 xenstore-watch -n 3 "$2" >"$dir/seen" &
	watcher=$!
	until_it 10 test -s "$dir/seen" || die "no watch of $2"
	"$4" xenstore-write "$5/one" 1 && "$4" xenstore-write "$5/two" 2 || die "writing failed"
	wait $watcher || die "xenstore-watch failed"
	[ "$(cat "$dir/seen")" = "$2
$3/one
$3/two" ] || die "the watch of $2 saw: $(cat "$dir/seen")"
}
in1 xenstore-write data/test/w "" || die "writing failed"
watch "$in1" data/test/w data/test/w in0 $home/data/test/w
in1 xenstore-rm data/test/w
in1 xenstore-write data/test/w "" || die "writing failed"
watch "$in0" $home/data/test/w $home/data/test/w in1 data/test/w
watch "$in1" $home/data/test/w $home/data/test/w in1 data/test/w

# Many at once.
pids=
for i in 1 2 3 4 5 6 7 8; do
	$in1 xenstore-write "data/test/many/$i" "$i" &
	pids="$pids $!"
done
for pid in $pids; do wait "$pid" || die "one of many failed"; done
got=$(in1 xenstore-list data/test/many | sort | tr -d '\n')
[ "$got" = 12345678 ] || die "of many there are $got"
in1 xenstore-rm data/test
refused in0 xenstore-read $home/data/test/a
echo "ok xenstore.sh"

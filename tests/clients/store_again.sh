#!/bin/sh
# xenstored ends, and another one takes its place: it knows the domains. On a real host a store can't be replaced, so that this is of use in a lab only. See
# store.sh. Prints "ok store_again.sh".
# shellcheck disable=SC2154,SC2086
. "$(dirname "$0")/store.sh"

[ "$(in1 xenstore-read domid)" = "$DOM1" ] || die "the first store doesn't know domain $DOM1"
in0 xenstore-write /local/domain/$DOM1/data/first 1
kill "$store"
until_it 10 sh -c "! kill -0 $store" || die "xenstored doesn't end"
rm -rf "$dir/run"
$in0 "$xen/xenstored" -N -I -F "$dir/pid" &
until_it 20 in0 timeout 2 xenstore-exists /local/domain/$DOM1/domid || die "the second store doesn't know domain $DOM1"
store=$(cat "$dir/pid")
[ "$(in1 timeout 10 xenstore-read domid)" = "$DOM1" ] || die "domain $DOM1 doesn't reach the second store"
if in0 xenstore-exists /local/domain/$DOM1/data/first; then die "it is the first store"; fi
echo "ok store_again.sh"

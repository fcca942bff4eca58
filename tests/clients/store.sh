# To be read by scripts: a xenstored for two domains, unless there is one.
#
# $RUN0 and $RUN1 (words, split at spaces) run a command in domain $DOM0 (0 by default), where xenstored is, and in domain $DOM1 (1). On a real host that
# is, for instance, nothing and `ssh guest`. Afterwards in0 and in1 run commands in each domain, with access to the store; so do $in0 and $in1, which are for the
# background, where they leave no shell in between.
# shellcheck shell=sh disable=SC2034,SC2086
DOM0=${DOM0:-0}
DOM1=${DOM1:-1}
here=$(cd "$(dirname "$0")" && pwd)
# Debian keeps the programs of each version apart; the links in /usr/sbin ask a hypervisor which one to take.
xen=${XEN_BIN:-$(ls -d /usr/lib/xen-4*/bin | tail -1)}
dir=$(mktemp -d) || exit 1
store=

die() { echo "$0: $*" >&2; exit 1; }
clean_up() {
	for pid in $(jobs -p) $store; do kill "$pid" 2>/dev/null; done
	wait
	rm -rf "$dir"
}
trap clean_up EXIT
trap 'exit 1' HUP INT TERM

in0="$RUN0 env"
in1="$RUN1 env -u XENSTORED_PATH -u XENSTORED_RUNDIR"
in0() { $in0 "$@"; }
in1() { $in1 "$@"; }
# until_it SECONDS COMMAND...: tries a command until it succeeds.
until_it() {
	tries=$(($1 * 10))
	shift
	while ! "$@" >/dev/null 2>&1; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || return 1
		sleep 0.1
	done
}

# Asking for the store itself would wait for ever where there is a device but no xenstored.
if ! in0 test -S /var/run/xenstored/socket; then
	in0="$in0 XENSTORED_RUNDIR=$dir/run XENSTORED_PATH=$dir/run/socket"
	$in0 "$xen/xenstored" -N -I -F "$dir/pid" &
	until_it 20 in0 xenstore-exists /tool || die "xenstored doesn't answer"
	store=$(cat "$dir/pid")
fi
in0 "$here/introduce" "$DOM0" "$DOM1" >/dev/null || die "the domains can't be introduced"

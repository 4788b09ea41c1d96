# Usage: sh -c "$(cat container.sh)" sh ENGINE NAME ENGINE-ARGUMENT...
#
# Runs the engine, which runs a container with this name. Exits with the status of the container,
# and removes the container whatever happens. The engine alone cannot promise that: if it gets
# SIGTERM while it creates the container, the container may stay, and the engine may even exit with
# status 0.
engine=$1 name=$2
shift 2
client='' told='' sender=''

# terminate passes SIGTERM on to the engine, and repeats it until the engine has ended, because
# podman ignores it between the creation of a container and the wait for its end. It waits four
# seconds between two signals: an Envoy that is already shutting down would be killed by a second
# one.
terminate() {
	told=yes
	if [ -n "$client" ] && [ -z "$sender" ]; then
		while kill -TERM "$client" && sleep 4; do :; done >/dev/null 2>&1 &
		sender=$!
	fi
}
trap terminate TERM
"$engine" "$@" &
client=$!
[ -z "$told" ] || terminate
# A signal ends wait, too. Then the engine still runs, and wait is repeated.
while wait "$client"; status=$?; kill -0 "$client" 2>/dev/null; do :; done
[ -z "$sender" ] || { kill -KILL "$sender"; wait "$sender"; } 2>/dev/null
"$engine" rm --force --volumes "$name" >/dev/null 2>&1
# docker's daemon may still create the container after its client was told to end.
if [ -n "$told" ] && [ "$status" -ne 0 ]; then
	sleep 1
	"$engine" rm --force --volumes "$name" >/dev/null 2>&1
fi
# An engine reports a signal as 128 plus its number. End by the same signal, without a core dump.
if [ "$status" -gt 128 ]; then
	ulimit -c 0
	trap - TERM
	kill "-$((status - 128))" $$
fi
exit "$status"

# Arguments: the engine, the container's name, and what the engine is called with. It ends as what runs in the container
# does, and nothing of the container is left then. The engine alone cannot promise that: if it is told to end while it is
# making the container, the container stays, and the engine's status may be 0.
engine=$1 name=$2
shift 2
client='' told='' teller=''
# Said until it is heard: podman hears nothing while it turns from making the container to waiting for it. Not at once
# again, as an Envoy that has heard it and is about to end would be killed by the second.
tell() {
	told=yes
	if [ -n "$client" ] && [ -z "$teller" ]; then
		while kill -TERM "$client" && sleep 2; do :; done >/dev/null 2>&1 &
		teller=$!
	fi
}
trap tell TERM
"$engine" "$@" &
client=$!
[ -z "$told" ] || tell
# A signal ends wait, too; the client is there then.
while wait "$client"; status=$?; kill -0 "$client" 2>/dev/null; do :; done
[ -z "$teller" ] || { kill -KILL "$teller"; wait "$teller"; } 2>/dev/null
"$engine" rm --force --volumes "$name" >/dev/null 2>&1
# docker's daemon may go on making what its client was told to leave.
if [ -n "$told" ] && [ "$status" -ne 0 ]; then
	sleep 1
	"$engine" rm --force --volumes "$name" >/dev/null 2>&1
fi
# An engine tells a signal as 128 and its number.
if [ "$status" -gt 128 ]; then
	ulimit -c 0
	trap - TERM
	kill "-$((status - 128))" $$
fi
exit "$status"

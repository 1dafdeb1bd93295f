# Looks after one server for a test process. Where its input ends, which is when the test process has, however it ended,
# it stops the server and removes the folder.
#
#   sh -c … supervised FOLDER SIGNAL PROGRAM ARGUMENT…
#
# Orders, a line each: `start` (the answer is the server's id), `wait` (the answer is its exit status).

# The kernel hangs up on a group in which a process is stopped when the last one that could wake it ends: a frozen
# server would take us with it.
trap '' HUP
folder=$1 signal=$2 server=
shift 2
while read -r order; do
  case $order in
    start) "$@" </dev/null >>"$folder/server.log" 2>&1 & server=$!; echo "$server" ;;
    wait) wait "$server"; echo $?; server= ;;
  esac
done
if [ "$server" ]; then
  # What is frozen takes no signal but these.
  kill -s CONT "$server"
  kill -s "$signal" "$server"
  wait "$server"
fi
# A PostgreSQL that was killed leaves this file, and the shared memory whose id ends the seventh line.
if [ -f postmaster.pid ]; then ipcrm -m "$(sed -n '7s/.* //p' postmaster.pid)"; fi
rm -rf "$folder"

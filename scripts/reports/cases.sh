# How a case is written. Sourced by scripts/user-reports; each case is a function named by its number that runs in a shell and a folder of its own.

# What it is about, said once it is known how it ended.
title() { title=$1; }
pass() { echo "ok $number $title"; }
skip() { echo "skip $number $title: $1"; exit 0; }
fail() { echo "FAIL $number $title: $1"; exit 1; }
# However it ends, what it began and did not end itself is ended: a case that fails leaves nothing behind. Lines of at_end are run after that.
at_end=()
end_case() {
  local me=$BASHPID line
  # shellcheck disable=SC2046
  kill $(pgrep -P "$me") 2>/dev/null
  for line in "${at_end[@]}"; do eval "$line"; done
}

# Whose machine: a state and a configuration of their own there, by the service's trust bundle.
at() {
  mkdir -p "$work/home/$1"
  export HOME=$work/home/$1 XDG_STATE_HOME=$work/home/$1/state XDG_CONFIG_HOME=$work/home/$1/config
}
# Where sls keeps things there.
state() { echo "$XDG_STATE_HOME/sls/$1"; }

# An account for this person, and a login. Their names are new each time: the service may have run before.
name_of() { echo "reports-$1-${work##*-}" | tr '[:upper:]' '[:lower:]'; }
sign_up() {
  mkdir -p "$work/accounts"
  sls signup -q --username "$(name_of "$1")" --password-stdin <<<"$PASSWORD" && echo "$PASSWORD" >"$work/accounts/$1"
}
log_in() { sign_up "$1" && sls login -q 2>"$work/login.log" || { cat "$work/login.log" >&2; return 1; }; }

# Runs a command to its end: $status, and the files out and err of the case.
run() {
  timeout --foreground -k 5 "$LIMIT" "$@" >out 2>err
  status=$?
}
# The same of a line of bash.
run_line() { run "${own_devices[@]}" bash -c "$1"; }
# Runs a line in the enclave, which is not what the case is about.
inside() { sls exec -q -- sh -c "$1" </dev/null; }

# What has to hold of it. The first that does not ends the case.
ended() {
  [ "$status" = "$1" ] || fail "expected status $1, got $status ($(short <err))"
}
out_is() { [ "$(cat out)" = "$1" ] || fail "expected $(short <<<"$1") on standard output, got $(short <out)"; }
err_is() { [ "$(cat err)" = "$1" ] || fail "expected $(short <<<"$1") on standard error, got $(short <err)"; }
out_like() { grep -qE -- "$1" out || fail "expected /$1/ on standard output, got $(short <out)"; }
err_like() { grep -qE -- "$1" err || fail "expected /$1/ on standard error, got $(short <err)"; }
err_unlike() { ! grep -qE -- "$1" err || fail "expected nothing like /$1/ on standard error, got $(short <err)"; }
# Nobody but sls talks there.
err_ours() { err_unlike '^(\)|[^sh]|s[^l]|h[^i])'; }
same() { [ "$1" = "$2" ] || fail "expected $3 $(short <<<"$1"), got $(short <<<"$2")"; }
holds() {
  local what=$1
  shift
  "$@" || fail "expected $what, which is not so"
}
short() {
  local text
  text=$(tr -d '\0' | tr '\n' '|' | head -c 300)
  echo "${text:-nothing}" | sed 's/|$//'
}

# Waits for an event, as long as a command has.
eventually() {
  local what=$1 end=$((SECONDS + LIMIT))
  shift
  until "$@"; do
    [ $SECONDS -lt $end ] || fail "expected $what, not within $LIMIT s"
    sleep 0.2
  done
}
has_line() { grep -q -- "$2" "$1" 2>/dev/null; }

# As somebody whom permissions hold back, as they do not root.
unprivileged=()
[ "$(id -u)" != 0 ] || unprivileged=(setpriv --reuid "$NOBODY" --regid "$NOBODY" --clear-groups)
admin() {
  # shellcheck disable=SC2086
  run sls admin "$@" $REPORTS_ADMIN
}
needs_admin() { [ -n "${REPORTS_ADMIN:-}" ] || skip 'REPORTS_ADMIN is not set'; }
needs_own_service() { [ -n "${service:-}" ] || skip 'the service was not started here'; }
# For lines that hand sls a device by its name: a fault must not replace the machine's.
own_devices=()
needs_own_devices() {
  own_devices=("$root/scripts/with-own-devices")
  "${own_devices[@]}" true 2>/dev/null || skip '/dev can not be made private here'
}

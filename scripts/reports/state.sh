# 7 to 9: text that is none, files of state that are damaged, and homes that can't be written.

NOT_UTF8_HINT='hint: convert it first, for example with iconv -f ISO-8859-1 -t UTF-8'
refused_as_text() {
  ended 2
  out_is ''
  err_is "sls: expected $1 to be UTF-8 text, got other bytes
$NOT_UTF8_HINT"
}
# As "corréct…" in ISO 8859-1.
latin1() { printf 'corr\351ct horse battery staple\n'; }

7.1() {
  title 'a password that is no UTF-8 is refused, and not taken for another'
  at text
  run sls signup --username "$(name_of text)" --password-stdin < <(latin1)
  refused_as_text 'standard input'
  run sls signup -q --username "$(name_of text)" --password-stdin <<<'corréct horse battery staple'
  ended 0
  echo 'corréct horse battery staple' >"$work/accounts/text"
  run sls login --username "$(name_of text)" --password-stdin < <(latin1)
  refused_as_text 'standard input'
  run sls login --username "$(name_of text)" --password-stdin <<<$'corr\uFFFDct horse battery staple'
  ended 4
  run sls passwd --password-stdin < <(echo 'corréct horse battery staple' && latin1)
  refused_as_text 'standard input'
}

7.2() {
  title 'a password that arrives in two pieces, inside a letter, is one'
  at pieces
  mkfifo typed
  exec {typed}<>typed
  printf 'corr\303' >&$typed
  sls signup -q --username "$(name_of pieces)" --password-stdin <typed {typed}>&- >out 2>err &
  # Until it has read that.
  eventually 'the first piece to be read' eval "! read -r -t 0 -u $typed"
  printf '\251ct horse battery staple\n' >&$typed
  exec {typed}>&-
  wait $!
  status=$?
  ended 0
  echo 'corréct horse battery staple' >"$work/accounts/pieces"
  run sls passwd -q --password-stdin <<<$'corréct horse battery staple\ncorréct horse battery staple, again'
  ended 0
  echo 'corréct horse battery staple, again' >"$work/accounts/pieces"
}

7.3() {
  title 'arguments and variables that are no UTF-8 are refused by name'
  local bytes=$'\351'
  echo another >"$(printf '\357\277\275')"
  run sls cp "$bytes" enclave:f
  refused_as_text 'argument 2'
  run sls cp enclave:f "$bytes"
  refused_as_text 'argument 3'
  run sls login --username "ad$bytes" --password-stdin </dev/null
  refused_as_text 'argument 3'
  run env SLS_TRUST="/tmp/$bytes" sls trust show
  refused_as_text '$SLS_TRUST'
}

7.4() {
  title 'files that are no UTF-8 are refused by name'
  printf '{\377}' >bytes
  run sls trust add bytes
  refused_as_text 'the trust bundle bytes'
  run sls verify bytes
  refused_as_text 'the evidence bytes'
  run sls audit check --head bytes
  refused_as_text 'the head bytes'
}

8.1() {
  title 'saved tokens that are damaged are named with what to do, and login heals them'
  at tokens
  sign_up tokens || fail 'no account'
  local file whole
  file=$(state token.json)
  whole=$(cat "$file")
  for damaged in '' "${whole:0:40}" null; do
    printf %s "$damaged" >"$file"
    for command in 'account show' 'sessions list' 'totp status'; do
      # shellcheck disable=SC2086
      run sls $command
      ended 4
      out_is ''
      err_is "sls: can't read the saved tokens $file: it is $([ -n "$damaged" ] && echo damaged || echo empty)
hint: sls login begins another session in their place; sls logout removes them"
    done
  done
  run sls login --username "$(name_of tokens)" --password-stdin <<<"$PASSWORD"
  ended 0
  err_like "^sls: warning: can't read the saved tokens $file: it is damaged; this login takes its place$"
  run sls account show
  ended 0
  : >"$file"
  run sls logout
  ended 0
  err_like "$file"
  holds 'the file to be gone' test ! -e "$file"
}

8.2() {
  title 'a saved session that is damaged is named with what to do, and login heals it'
  at session
  log_in session || fail 'no session'
  local file
  file=$(state session.json)
  for damaged in '' '{"version":2' null; do
    printf %s "$damaged" >"$file"
    for command in status 'exec true' 'seats list'; do
      # shellcheck disable=SC2086
      run sls $command
      ended 4
      out_is ''
      err_is "sls: can't read the saved session $file: it is $([ -n "$damaged" ] && echo damaged || echo empty)
hint: run: sls login"
    done
  done
  run sls login -q --username "$(name_of session)" --password-stdin <<<"$PASSWORD"
  ended 0
  run sls status
  ended 0
}

8.3() {
  title 'a pinned trust bundle that is damaged is named with what to do, and trust add heals it'
  at pins
  local bundle=$SLS_TRUST file=$XDG_CONFIG_HOME/sls/trust-bundle.jws fingerprint=$SLS_TRUST_FINGERPRINT
  unset SLS_TRUST SLS_TRUST_FINGERPRINT
  run sls trust add "$bundle" --fingerprint "$fingerprint"
  ended 0
  : >"$file"
  run sls trust show
  ended 5
  out_is ''
  err_like "^sls: can't read the trust bundle $file: "
  err_like '^hint: .*sls trust add'
  run sls trust add "$bundle"
  ended 2
  run sls trust add "$bundle" --fingerprint "$fingerprint"
  ended 0
  run sls trust show
  ended 0
}

8.4() {
  title 'files of state are written whole, never in place'
  at whole
  log_in whole || fail 'no session'
  local file
  file=$(state session.json)
  ln "$file" before
  cp before copy
  run sls login -q
  ended 0
  holds 'what was there before to be as it was' cmp -s before copy
  holds 'another file in its place' test ! before -ef "$file"
}

# As somebody who can't write there; root can everywhere.
with_state() {
  local folder=$1
  shift
  cp "$SLS_TRUST" bundle.jws && chmod 644 bundle.jws
  run "${unprivileged[@]}" env XDG_STATE_HOME="$folder" XDG_CONFIG_HOME="$folder" SLS_TRUST="$PWD/bundle.jws" "$@"
}
needs_readable_program() {
  "${unprivileged[@]}" test -r "$(realpath "$work/bin/sls")" || skip 'users without rights can not read the program'
}

9.1() {
  title 'a state that can not be written is refused before anything is sent'
  needs_readable_program
  at sealed
  sign_up sealed || fail 'no account'
  local before
  before=$(sls sessions list --json | grep -c '"session"')
  mkdir -m 555 sealed
  for command in "login --username $(name_of sealed)" "signup --username $(name_of unmade)"; do
    # shellcheck disable=SC2086
    with_state "$PWD/sealed" sls $command --password-stdin <<<"$PASSWORD"
    ended 1
    out_is ''
    err_is "sls: can't write to $PWD/sealed/sls: EACCES
hint: nothing was sent; set XDG_STATE_HOME to a folder that you can write to"
  done
  same "$before" "$(sls sessions list --json | grep -c '"session"')" 'a number of sessions of'
  at unmade
  sign_up unmade || fail 'expected the account not to be made, and it was'
}

9.2() {
  title 'a state that can only be read is enough for reading commands, with a warning'
  needs_readable_program
  at frozen
  log_in frozen || fail 'no session'
  # As five minutes later.
  sed -i 's/"accessTokenExpiresAt":[0-9]*/"accessTokenExpiresAt":1/' "$(state session.json)"
  cp -r "$XDG_STATE_HOME" frozen
  chmod -R a+rX,a-w frozen
  for command in 'sessions list' 'account show'; do
    # shellcheck disable=SC2086
    with_state "$PWD/frozen" sls $command
    ended 0
    same 1 "$(grep -c "^sls: warning: can't write to $PWD/frozen/sls (EACCES)" err)" "of sls $command a number of warnings of"
  done
  # Its certificate is good for longer.
  with_state "$PWD/frozen" sls exec -q -- echo on
  ended 0
  out_is on
  chmod -R u+w frozen
}

9.3() {
  title 'without a home nothing is written into the working folder'
  needs_readable_program
  for home in '' here; do
    run "${unprivileged[@]}" env -u XDG_STATE_HOME -u XDG_CONFIG_HOME HOME="$home" sls status
    holds "no success" test "$status" -ne 0
    [ "$(id -u)" != 0 ] || err_is "sls: no home folder: HOME is \"$home\", and user $NOBODY has none in passwd
hint: set HOME, or both XDG_CONFIG_HOME and XDG_STATE_HOME, to absolute paths"
  done
  same $'err\nout' "$(ls -A)" 'files'
  [ "$(id -u)" = 0 ] || return 0
  run "${unprivileged[@]}" env -u XDG_STATE_HOME -u XDG_CONFIG_HOME -u HOME sls status
  ended 1
  out_is ''
  err_is "sls: no home folder: HOME is not set, and user $NOBODY has none in passwd
hint: set HOME, or both XDG_CONFIG_HOME and XDG_STATE_HOME, to absolute paths"
}

20.9() {
  title 'a session that root owns, as after sudo, says how to have it back'
  [ "$(id -u)" = 0 ] || skip 'only root can make one'
  needs_readable_program
  mkdir -p sudo/sls
  install -m 600 "$(state session.json)" sudo/sls
  chown "$NOBODY:$NOBODY" sudo sudo/sls
  with_state "$PWD/sudo" sls status
  ended 4
  out_is ''
  err_is "sls: can't read the saved session $PWD/sudo/sls/session.json: EACCES
hint: it belongs to root, as after sudo sls: sudo chown -R \"\$(id -u)\" \"$PWD/sudo/sls\""
}

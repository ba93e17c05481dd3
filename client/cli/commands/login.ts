import type { Command } from 'commander';
import { Option } from 'commander';
import { writeEvidenceJson } from '../../../attestation/evidence/json';
import type { TrustBundle } from '../../../attestation/trust/bundle';
import type { SignedTrust } from '../../../attestation/trust/signed-bundle';
import { connect, login, RpcError } from '../../index';
import type { LoginOptions, Session, SessionTokens, VerifiedEvidence } from '../../index';
import { userOfToken } from '../../identity';
import { endKilledLogins, openBegunLogin } from '../begun-login';
import { callOptions } from '../call-options';
import { addEnclaveOption, chosenEnclave } from '../chosen-enclave';
import { CliError, EXIT } from '../exit';
import { keepLogin, keepTokens } from '../keep-login';
import { tellLicence } from '../licence-notice';
import { tellNewEnclave } from '../new-enclave';
import { tellStage, tellStep } from '../narration';
import { logInAtProvider } from '../oidc';
import { allowPlaintext } from '../plaintext';
import { addExample, addOutputOptions, addTrustOptions, addVerboseOption } from '../options';
import type { CommonOptions } from '../options';
import { Output } from '../output';
import { askPassword, askUsername } from '../prompt';
import { retryAfterRaces } from '../race';
import { keepReceipt } from '../receipts';
import { describeSession } from '../report';
import { withSecondFactor } from '../second-factor';
import { openOutputFile } from '../output-file';
import type { OutputFile } from '../output-file';
import { endAtService, endForeignSessions, loadSessionIfThere } from '../session-file';
import { isBadState, requireWritableState } from '../state';
import { findTokens, renewTokenFile, sessionOf } from '../token-file';
import { loadSignedTrust, newestTrust, readSignedTrust, servicesOf } from '../trust';
import type { TrustPreferences } from '../trust';
import { TrustKeeper } from '../trust-keeper';
import type { Code } from '../../../errors/codes';
import { TrustMemory } from '../trust-memory';

interface Options extends CommonOptions {
  username?: string;
  passwordStdin?: boolean;
  oidc?: boolean;
  evidence?: string;
  eventLog?: boolean;
  imageDigest?: string[];
  softwareTpm?: 'allow' | 'refuse';
  verbose?: boolean;
}

interface Run extends Options {
  /** Of --evidence, open. */
  evidenceFile?: OutputFile | undefined;
  /** The session that this one goes on from named its trust bundle by --trust. */
  trustNamed: boolean;
}

const DIGEST = /^sha256:[0-9a-f]{64}$/;

/** `sls login`: starts the user's enclave, verifies it, connects once, and keeps the session. */
export function addLogin(program: Command): void {
  const command = program
    .command('login')
    .description('start your enclave, verify it, and save the session')
    .option('-u, --username <name>', 'your username (default: ask)')
    .option(
      '--password-stdin',
      'read the password from standard input, and on the next line a code if you have a second factor',
    )
    .option(
      '--oidc',
      "log in at your organization's OpenID provider with a browser on any machine; --username names a new account",
    )
    .option('--evidence <file>', 'save the evidence to this file, for sls verify')
    .option('--event-log', "include the machine's firmware event log in the evidence, for sls verify --explain")
    .option('--image-digest <digest...>', 'accept these images only (sha256:HEX)')
    .addOption(
      new Option('--software-tpm <verdict>', "override the trust bundle's policy on software TPMs").choices([
        'allow',
        'refuse',
      ]),
    );
  addEnclaveOption(addVerboseOption(addTrustOptions(addOutputOptions(command)))).action(run);
  addExample(
    command,
    'sls login --username ada --evidence proof.json',
    'sls login --oidc',
    'sls login --enclave gpu-lab',
  );
}

/** The saved session is over: a password, or the OpenID provider's word, begins another one. */
const OVER = new Set<Code>([
  'login.session_ended',
  'login.refresh_reused',
  'login.refresh_invalid',
  'login.token_invalid',
]);

type PasswordCredential = Extract<LoginOptions['credential'], { password: string }>;

interface Chosen {
  username: string;
  oidc: boolean;
  /** The session is that of the login to another enclave, whose file keeps its refresh token: two files never share one. */
  borrowed?: boolean;
  /** The user's id, where this login goes on with a session. */
  user?: string | undefined;
  credential: LoginOptions['credential'];
  /** Keeps tokens that came before the login was verified. */
  keep(tokens: SessionTokens): Promise<void>;
  /** The login failed after these tokens came. */
  abandon(tokens: SessionTokens): Promise<void>;
}

async function run(options: Options): Promise<void> {
  const out = new Output(options);
  if (options.oidc && options.passwordStdin)
    throw new CliError(EXIT.usage, 'expected --oidc or --password-stdin, got both');
  const preferences = preferencesOf(options);
  const remembered = await rememberedTrust(options);
  const keeper = new TrustKeeper(remembered ?? (await loadSignedTrust(options)), preferences, out);
  await requireWritableState();
  const evidenceFile =
    options.evidence === undefined ? undefined : await openOutputFile(options.evidence, 'the evidence');
  try {
    await endForeignSessions((message) => out.warning(message));
    await endKilledLogins();
    const trustNamed = options.trust !== undefined || remembered !== undefined;
    await logInAsChosen(keeper, { ...options, evidenceFile, trustNamed }, out);
  } finally {
    await evidenceFile?.close();
  }
}

/** A login that named its trust bundle goes on with that, as all other commands do, unless this one names another. */
async function rememberedTrust({ trust }: Options): Promise<SignedTrust | undefined> {
  if (trust !== undefined || process.env['SLS_TRUST']) return undefined;
  const saved = await loadSessionIfThere().catch(() => undefined);
  return saved?.trustNamed ? newestTrust(await readSignedTrust('the saved session', saved.signedTrust)) : undefined;
}

async function logInAsChosen(keeper: TrustKeeper, options: Run, out: Output): Promise<void> {
  if (options.oidc) return logInByOidc(keeper, options, out);
  const found = options.passwordStdin ? undefined : await savedCredential(keeper.trust, options.username, out);
  if (!found) return logInAnew(keeper, options, out);
  try {
    await retryAfterRaces(async () =>
      logIn((await savedCredential(keeper.trust, found.username, out)) ?? found, keeper, options, out),
    );
  } catch (error) {
    if (!(error instanceof RpcError && OVER.has(error.code))) throw error;
    out.note(`${error.message}: log in ${found.oidc ? 'at your OpenID provider' : 'with your password'}`);
    await logInAnew(keeper, { ...options, username: found.username }, out);
  }
}

/** As the session before began, where there was one. */
async function logInAnew(keeper: TrustKeeper, options: Run, out: Output): Promise<void> {
  const before = options.passwordStdin ? undefined : await sessionOf(keeper.trust);
  if (before?.oidc !== true || (options.username ?? before.username) !== before.username)
    return logInByPassword(keeper, options, out);
  if (!process.stderr.isTTY)
    throw new CliError(EXIT.authentication, 'the session has ended', {
      code: 'login.session_over',
      hint: 'run: sls login --oidc',
    });
  await logInByOidc(keeper, { ...options, username: before.username }, out);
}

/** The session is kept from its beginning on: whatever fails after it, the next login needs no browser. */
async function logInByOidc(keeper: TrustKeeper, options: Run, out: Output): Promise<void> {
  const { username, created, ...tokens } = await logInAtProvider(keeper.trust, out, options);
  const first = { username, oidc: true, ...tokens };
  await keepTokens(keeper.trust, first);
  if (created) out.done(`a new account was made for you: ${username}`);
  const credential = { refreshToken: tokens.refreshToken ?? '' };
  await logIn(
    {
      username,
      user: userOfToken(tokens.accessToken),
      oidc: true,
      credential,
      keep: (renewed) => renewTokenFile(keeper.trust, first, renewed),
      abandon: () => Promise.resolve(),
    },
    keeper,
    options,
    out,
  );
}

async function logInByPassword(keeper: TrustKeeper, options: Run, out: Output): Promise<void> {
  const chosen = await passwordCredential(keeper.trust, options, out);
  const begun = await openBegunLogin(keeper.trust);
  let ended = true;
  // Nobody but this process has the session that begins by it.
  const owned = {
    keep: (tokens: SessionTokens) => begun.note(tokens),
    abandon: async ({ refreshToken }: SessionTokens) => {
      ended = refreshToken === undefined || (await endAtService(keeper.trust, refreshToken));
    },
  };
  try {
    await withSecondFactor(out, { fromStdin: options.passwordStdin === true }, (oneTimeCode) =>
      logIn({ ...chosen, ...owned, credential: { ...chosen.credential, oneTimeCode } }, keeper, options, out),
    );
  } finally {
    await begun.close(ended);
  }
}

async function logIn(
  { username, user, oidc, borrowed, credential, keep, abandon }: Chosen,
  keeper: TrustKeeper,
  options: Run,
  out: Output,
): Promise<void> {
  const details = options.verbose === true;
  const before = await sessionOf(keeper.trust);
  let tokens: SessionTokens | undefined;
  out.progress('logging in');
  const { session, warnings, full } = await verifiedLogin().catch(async (error: unknown) => {
    if (tokens) await abandon(tokens).catch(() => undefined);
    throw error;
  });
  const { trust, signed: signedTrust, preferences } = keeper;
  const { trustNamed } = options;
  const own = borrowed ? { ...session, refreshToken: undefined, refreshTokenExpiresAt: undefined } : session;
  await keepLogin({ username, oidc, trust, signedTrust, trustNamed, preferences, session: own }).catch(
    async (error: unknown) => {
      await abandon(session).catch(() => undefined);
      throw error;
    },
  );
  await tellOtherUser(username, session, keeper, out);
  if (options.evidenceFile) {
    await options.evidenceFile.write(writeEvidenceJson(session.evidence));
    out.note(`evidence saved: ${options.evidence}`);
  }
  for (const { message } of warnings) out.warning(message);
  if (before) await tellNewEnclave(out, trust, before.session, session);
  tellLicence(out, session);
  // The session stays: by it seats can be freed.
  if (full) throw full;
  const report = describeSession({ username, trust, session });
  out.done(`logged in as ${username}, enclave ${session.claims.workloadUid} verified`);
  out.result(report.json, []);

  async function verifiedLogin(): Promise<{
    session: Session;
    warnings: VerifiedEvidence['warnings'];
    full?: RpcError;
  }> {
    const session = await login(keeper.trust, {
      ...callOptions(),
      onTrust: keeper.onTrust,
      credential,
      user,
      enclave: chosenEnclave(),
      includeEventLog: options.eventLog,
      onTokens: (given) => keep((tokens = given)),
      onReceipt: keepReceipt(() => keeper.trust, out),
      onStage: tellStage(out),
      onStep: tellStep(out, { details }),
    });
    out.progress('connecting');
    // The session counts only once the enclave has shown that it is the end of a connection.
    try {
      const connection = await connect(keeper.trust, session, {
        onTrust: keeper.onTrust,
        allowPlaintext: allowPlaintext(),
        onStep: tellStep(out, { details, skip: 'login' }),
      });
      await connection.end();
      return { session, warnings: connection.evidence.session.warnings };
    } catch (error) {
      // Everything was verified before a seat was asked for.
      if (error instanceof RpcError && error.code === 'seat.none_free') return { session, warnings: [], full: error };
      throw error;
    }
  }
}

/** Who is behind a username is the service's to say; that it is another one than last time is for the person to know. */
async function tellOtherUser(
  username: string,
  { claims }: Session,
  { trust }: TrustKeeper,
  out: Output,
): Promise<void> {
  const memory = await TrustMemory.of(trust);
  const before = await memory.userBehind(username).catch((error: unknown) => {
    if (!isBadState(error)) throw error;
    return tellReplaced(out)(error);
  });
  if (before === claims.user) return;
  if (before !== undefined)
    out.warning(
      `THE USER ID OF ${username} HAS CHANGED since the last login on this machine: expected ${before}, got ${claims.user}. Unless the account was deleted and created again, someone may be impersonating the service: ask your operator before you send anything`,
    );
  await memory.rememberUser(username, claims.user);
}

/** A session that is still good spares the password; --password-stdin and --oidc insist on another one. */
async function savedCredential(
  trust: TrustBundle,
  username: string | undefined,
  out: Output,
): Promise<Chosen | undefined> {
  const own = await findTokens(trust, username, { onBadState: tellReplaced(out) });
  const any =
    own?.tokens.refreshToken === undefined
      ? await findTokens(trust, username, { anyEnclave: true, onBadState: () => undefined })
      : undefined;
  const found = any?.tokens.refreshToken === undefined ? (own ?? any) : any;
  if (!found) return undefined;
  const { accessToken, refreshToken } = found.tokens;
  const credential = refreshToken === undefined ? { accessToken } : { refreshToken };
  // The session was there before this login, and stays.
  return {
    username: found.username,
    user: found.user,
    oidc: found.oidc,
    borrowed: found !== own,
    credential,
    keep: found.keep,
    abandon: () => Promise.resolve(),
  };
}

/** A login takes the place of what can't be read. */
function tellReplaced(out: Output): (error: CliError) => void {
  return ({ message }) => out.warning(`${message}; this login takes its place`);
}

async function passwordCredential(
  trust: TrustBundle,
  options: Options,
  out: Output,
): Promise<Omit<Chosen, 'keep' | 'abandon'> & { credential: PasswordCredential }> {
  const username = await askUsername(options.username);
  const password = await askPassword({ fromStdin: options.passwordStdin === true });
  const known = await findTokens(trust, username, { anyEnclave: true, onBadState: tellReplaced(out) });
  return {
    username,
    oidc: false,
    credential: { username, password, knownSession: known?.tokens.refreshToken },
  };
}

function preferencesOf({ imageDigest, softwareTpm, server }: Options): TrustPreferences {
  for (const digest of imageDigest ?? []) {
    if (!DIGEST.test(digest))
      throw new CliError(
        EXIT.usage,
        `expected --image-digest sha256: and 64 hexadecimal digits, got ${JSON.stringify(digest)}`,
      );
  }
  return {
    policy: { ...(imageDigest && { imageDigests: imageDigest }), ...(softwareTpm && { softwareTpm }) },
    ...(server !== undefined && { services: servicesOf(server) }),
  };
}

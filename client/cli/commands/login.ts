import { writeFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { Option } from 'commander';
import { writeEvidenceJson } from '../../../core/evidence/json';
import type { TrustBundle } from '../../../core/trust/bundle';
import { Claims } from '../../../proto/gen/licensing/v1/evidence';
import { connect, login } from '../../index';
import type { LoginOptions } from '../../index';
import { CliError, EXIT } from '../exit';
import { tellStage, tellStep } from '../narration';
import { allowPlaintext } from '../plaintext';
import { addExample, addOutputOptions, addTrustOptions, addVerboseOption } from '../options';
import type { CommonOptions } from '../options';
import { Output } from '../output';
import { askPassword, askUsername } from '../prompt';
import { describeSession } from '../report';
import { saveSession } from '../session-file';
import { findToken, removeToken } from '../token-file';
import { loadTrust, servicesOf } from '../trust';
import type { TrustPreferences } from '../trust';
import { TrustKeeper } from '../trust-keeper';

interface Options extends CommonOptions {
  username?: string;
  passwordStdin?: boolean;
  evidence?: string;
  eventLog?: boolean;
  imageDigest?: string[];
  softwareTpm?: 'allow' | 'refuse';
  verbose?: boolean;
}

const DIGEST = /^sha256:[0-9a-f]{64}$/;

/** `sls login`: starts the user's enclave, verifies it, connects once, and keeps the session. */
export function addLogin(program: Command): void {
  const command = program
    .command('login')
    .description('start your enclave, verify it and keep the session')
    .option('-u, --username <name>', 'asked for when left out')
    .option('--password-stdin', 'read the password from standard input instead of the terminal')
    .option('--evidence <file>', 'save the evidence, for sls verify')
    .option('--event-log', "have the machine's firmware event log in the evidence, for sls verify --explain")
    .option('--image-digest <digest...>', 'accept these images only (sha256:HEX)')
    .addOption(new Option('--software-tpm <verdict>', "overrides the trust bundle's policy").choices(['allow', 'refuse']));
  addVerboseOption(addTrustOptions(addOutputOptions(command))).action(run);
  addExample(command, 'sls login --username ada --evidence proof.json');
}

async function run(options: Options): Promise<void> {
  const out = new Output(options);
  const keeper = new TrustKeeper(await loadTrust(options), preferencesOf(options), out);
  const { username, credential } = await chooseCredential(keeper.trust, options);
  const details = options.verbose === true;
  out.progress('logging in');
  const session = await login(keeper.trust, {
    onTrust: keeper.onTrust,
    credential,
    allowPlaintext: allowPlaintext(),
    includeEventLog: options.eventLog,
    onStage: tellStage(out),
    onStep: tellStep(out, { details }),
  });
  out.progress('connecting');
  // The session counts only once the enclave has shown that it is the end of a connection.
  const connection = await connect(keeper.trust, session, { onTrust: keeper.onTrust, allowPlaintext: allowPlaintext(), onStep: tellStep(out, { details, skip: 'login' }) });
  connection.close();
  const { trust, preferences } = keeper;
  await saveSession({ username, trust, preferences, session });
  await removeToken();
  if (options.evidence !== undefined) {
    await writeFile(options.evidence, writeEvidenceJson(session.evidence));
    out.note(`evidence saved: ${options.evidence}`);
  }
  for (const { message } of connection.evidence.session.warnings) out.warning(message);
  const report = describeSession({ username, trust, session });
  out.done(`logged in as ${username}, enclave ${Claims.decode(session.evidence.claims).workloadUid} verified`);
  out.result(report.json, []);
}

/** A token that is still good spares the password; --password-stdin insists on the password. */
async function chooseCredential(trust: TrustBundle, options: Options): Promise<{ username: string; credential: LoginOptions['credential'] }> {
  const token = options.passwordStdin ? undefined : await findToken(trust, options.username);
  if (token) return { username: token.username, credential: { accessToken: token.accessToken } };
  const username = await askUsername(options.username);
  const password = await askPassword({ fromStdin: options.passwordStdin === true });
  return { username, credential: { username, password } };
}

function preferencesOf({ imageDigest, softwareTpm, server }: Options): TrustPreferences {
  for (const digest of imageDigest ?? []) {
    if (!DIGEST.test(digest)) throw new CliError(EXIT.usage, `expected --image-digest sha256: and 64 hexadecimal digits, got ${JSON.stringify(digest)}`);
  }
  return {
    policy: { ...(imageDigest && { imageDigests: imageDigest }), ...(softwareTpm && { softwareTpm }) },
    ...(server !== undefined && { services: servicesOf(server) }),
  };
}

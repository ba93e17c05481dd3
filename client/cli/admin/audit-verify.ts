import type { Command } from 'commander';
import { fromServiceError, isServiceError, RpcError } from '../../../runtime/rpc/errors';
import { Replay } from '../../../attestation/transparency/replay';
import type { TrustBundle } from '../../../attestation/trust/bundle';
import type { ReadAuditLogResponse } from '../../../proto/gen/licensing/v1/admin';
import { freshTrust } from '../../fresh-trust';
import { readLogHead, readOtherHead } from '../../index';
import type { KnownHead } from '../../index';
import { describeHead, extendingMemory, readHeadFile } from '../extending-memory';
import { LogMemory } from '../log-memory';
import { addExample, addOutputOptions } from '../options';
import { Output } from '../output';
import type { OutputOptions } from '../output';
import { allowPlaintext } from '../plaintext';
import { loadSignedTrust, readSignedTrust } from '../trust';
import { TrustKeeper } from '../trust-keeper';
import { withCaller } from './call';
import type { AdminCaller } from './call';
import { addAdminOptions, adminFiles } from './options';
import type { AdminOptions } from './options';
import { systemClock } from '../../../runtime/clock';
import type { Code } from '../../../errors/codes';
import { readText } from '../../../runtime/text/utf8';

type Options = AdminOptions & OutputOptions & { trust?: string; trustFingerprint?: string; head?: string[] };

const COUNT_MS = 200;
/** The service signs no head: the tree, or its last head, is not what it was. */
const NOT_SIGNED = new Set<Code>(['audit.tree_damaged', 'audit.key_unknown']);
/** Where no person watches, progress is a line in a log. */
const LINE_MS = 15_000;

/** `sls admin audit verify`: every record against what was signed, and what was signed against what this machine remembers. */
export function addVerify(audit: Command): void {
  const command = audit
    .command('verify')
    .description(
      'read the whole audit log, and check its records against the signed head and the head remembered on this machine',
    )
    .option(
      '--trust <file>',
      "signed trust bundle (default: the installation's own; with --address, as in the other commands)",
    )
    .option('--trust-fingerprint <fingerprint>', 'fingerprint of its trust key, if not yet confirmed by sls trust add')
    .option(
      '--head <file...>',
      'heads shown to other people (from sls audit check --json): the log must extend them as well',
    );
  addAdminOptions(addOutputOptions(command)).action(run);
  addExample(command, 'sls admin audit verify', 'sls admin audit verify --head from-grace.json');
}

async function run(options: Options): Promise<void> {
  const out = new Output(options);
  const trust = await trustOf(options, out);
  const others = await Promise.all(
    (options.head ?? []).map(async (file) => readOtherHead(trust, await readHeadFile(file))),
  );
  await withCaller(options, async (caller) => {
    out.progress('reading the audit log');
    const { head, before } = await extendingMemory(await LogMemory.of(trust), out, async (remembered, onHead) => {
      const known = [...remembered, ...others];
      const signed = await caller.call('getAuditTreeHead', {}).catch(async (error: unknown) => {
        if (error instanceof RpcError && NOT_SIGNED.has(error.code)) await nameDamage(caller, known, out);
        throw error;
      });
      const shown = await readLogHead(trust, signed.head);
      onHead(shown);
      await replay(caller, known, shown, out);
      return { head: shown };
    });
    out.erase();
    const records = `${head.size} ${head.size === 1 ? 'record' : 'records'}`;
    out.done(
      `the audit log of ${trust.trustDomain} is what was signed: ${records}, root ${head.root.toString('hex')}; it ${before ? `has only grown since ${before.at.toISOString()}` : 'is remembered from now on'}`,
    );
    out.result(
      { trustDomain: trust.trustDomain, head: describeHead(head), before: before ? describeHead(before) : null },
      [],
    );
  });
}

/** Where the service signs no head any more, what this machine remembers tells which record is wrong. */
async function nameDamage(caller: AdminCaller, known: readonly KnownHead[], out: Output): Promise<void> {
  for (const head of known) await replay(caller, [], head, out);
}

/** @throws LogError that names the record */
async function replay(caller: AdminCaller, known: readonly KnownHead[], head: KnownHead, out: Output): Promise<void> {
  const tree = new Replay(head, known);
  const tell = progress(out, head.size);
  const call = await caller.readAuditLog({ size: BigInt(head.size) });
  try {
    for await (const message of call) {
      const { sequence, ...record } = message as ReadAuditLogResponse;
      tree.add({ sequence: Number(sequence), ...record });
      tell(tree.size);
    }
  } catch (error) {
    throw isServiceError(error) ? fromServiceError(error) : error;
  } finally {
    call.cancel();
  }
  tree.finish();
}

function progress(out: Output, size: number): (done: number) => void {
  const started = systemClock.now();
  let [counted, said] = [started, started];
  return (done) => {
    // A look at the clock for each record would be felt.
    if (done % 256 !== 0) return;
    const now = systemClock.now();
    if (process.stderr.isTTY && now - counted > COUNT_MS) {
      counted = now;
      out.counter(`${done} of ${size} records read`);
    } else if (!process.stderr.isTTY && now - said > LINE_MS) {
      said = now;
      out.progress(`${done} of ${size} records read`);
    }
  };
}

/** The bundle of the installation that is asked, brought up to date where it is not the installation's own: a log key may have been taken back. */
async function trustOf(options: Options, out: Output): Promise<TrustBundle> {
  if (options.trust === undefined && options.address === undefined) {
    const text = await readText(adminFiles(options).trustBundle).catch(() => undefined);
    if (text !== undefined) return (await readSignedTrust(adminFiles(options).trustBundle, text)).bundle;
  }
  const keeper = new TrustKeeper(await loadSignedTrust(options), {}, out);
  // An administrator may be where the login service can't be reached.
  await freshTrust('login', keeper.trust, undefined, { onTrust: keeper.onTrust, allowPlaintext: allowPlaintext() });
  return keeper.trust;
}

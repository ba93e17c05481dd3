import { spawn } from 'node:child_process';
import { constants, createDecipheriv, createHmac, generateKeyPairSync, privateDecrypt } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { channelCredentials, grpcTarget, parseAddress } from '../runtime/rpc/address';
import { callUnary } from '../runtime/rpc/client';
import { publicName, parsePublic } from '../attestation/tpm/public';
import { EnrolServiceClient } from '../proto/gen/licensing/v1/enrol';
import type { BeginEnrolmentRequest } from '../proto/gen/licensing/v1/enrol';
import { makeAuthority, makeLeaf } from '../test/support/authority';
import { Machine } from '../test/support/machine';
import { encodeEccPublic } from '../test/support/tpm-structures';
import { timed } from './bench';
import type { Row } from './bench';

const NODES = 400;
const TPMS = 4;
const IN_FLIGHT = 16;
const CALL_MS = 60_000;

/** Default template L-1 (TCG EK Credential Profile, B.3.3) up to the modulus. */
const RSA_EK =
  '0001000b000300b20020837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa00060080004300100800000000000100';

/** Enrolments that one functions/enrol takes: two calls each, their requests made beforehand, the TPMs' own part left out. */
export async function run(): Promise<Row[]> {
  const machine = new Machine();
  try {
    // For its database and its keys.
    await machine.startService();
    const maker = await makeAuthority('maker');
    const address = `unix:${machine.path('enrol.sock')}`;
    const child = await startEnrol(machine, maker.certificate, address);
    const client = new EnrolServiceClient(grpcTarget(parseAddress(address)), channelCredentials(parseAddress(address)));
    try {
      const tpms = await Promise.all(Array.from({ length: TPMS }, () => makeTpm(maker)));
      const requests = Array.from({ length: NODES }, (_, at) => ({
        ...(tpms[at % TPMS] as Tpm).request,
        node: `node-${at}`,
      }));
      // A few first: the connection, the database's tables.
      for (const request of requests.slice(0, 8))
        await callUnary(client, client.beginEnrolment, request, { timeout: CALL_MS });

      const began = await timed(() =>
        inFlight(requests, (request) => callUnary(client, client.beginEnrolment, request, { timeout: CALL_MS })),
      );
      const answers = began.result.map(({ challenge, ...credential }, at) => ({
        challenge,
        secret: activate(tpms[at % TPMS] as Tpm, credential),
      }));
      const completed = await timed(() =>
        inFlight(answers, (answer) => callUnary(client, client.completeEnrolment, answer, { timeout: CALL_MS })),
      );
      const rate = (ms: number): number => (NODES / ms) * 1000;
      return [
        {
          name: 'enrolments',
          value: rate(began.ms + completed.ms),
          unit: '/s',
          note: `${IN_FLIGHT} at a time, RSA-2048 EK, embedded database`,
        },
        { name: 'first call: EK certificate, AK, TPM2_MakeCredential', value: rate(began.ms), unit: '/s' },
        { name: 'second call: challenge, record, certificate', value: rate(completed.ms), unit: '/s' },
      ];
    } finally {
      client.close();
      child.kill('SIGTERM');
    }
  } finally {
    await machine.stopService();
    rmSync(machine.folder, { recursive: true, force: true });
  }
}

async function startEnrol(machine: Machine, root: string, address: string): Promise<ReturnType<typeof spawn>> {
  const roots = machine.path('ek-roots');
  mkdirSync(roots);
  writeFileSync(join(roots, 'maker.pem'), root);
  const ready = machine.path('enrol.ready');
  const keys = (name: string): string => machine.server('keys', name);
  const child = spawn(process.execPath, [join(process.env['SLS_DIST'] ?? 'dist', 'enrol.cjs')], {
    stdio: ['ignore', 'inherit', 'inherit'],
    env: {
      ...process.env,
      LISTEN: address,
      READY_FILE: ready,
      LOG_LEVEL: 'error',
      DATABASE_URL_FILE: machine.server('run', 'database-url'),
      ATTESTATION_CA_KEY_FILE: keys('attestation-ca.key'),
      ATTESTATION_CA_CERTIFICATE_FILE: keys('attestation-ca.crt'),
      SEAL_KEY_FILE: keys('seal.key'),
      EK_ROOTS_DIR: roots,
      TRUST_DOMAIN: 'sls.local',
    },
  });
  for (const end = Date.now() + 30_000; !existsSync(ready); await sleep(50)) {
    if (child.exitCode !== null || Date.now() > end) throw new Error('enrol did not start');
  }
  return child;
}

/** `work` on each item, a few at a time. @returns results in the items' order */
async function inFlight<Item, Result>(
  items: readonly Item[],
  work: (item: Item) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let at = next++; at < items.length; at = next++) results[at] = await work(items[at] as Item);
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, worker));
  return results;
}

interface Tpm {
  request: Omit<BeginEnrolmentRequest, 'node'>;
  ek: KeyObject;
}

/** Keys that only look as if they were in a TPM. */
async function makeTpm(maker: Awaited<ReturnType<typeof makeAuthority>>): Promise<Tpm> {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const modulus = Buffer.from(publicKey.export({ format: 'jwk' }).n ?? '', 'base64url');
  const certificate = await makeLeaf(maker, {
    publicKey: publicKey.export({ format: 'der', type: 'spki' }),
    usages: ['2.23.133.8.1'],
  });
  const akPublic = encodeEccPublic(generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey);
  return {
    ek: privateKey,
    request: {
      ekPublic: Buffer.concat([Buffer.from(RSA_EK, 'hex'), modulus]),
      ekCertificates: [certificate],
      akPublic,
    },
  };
}

/** TPM2_ActivateCredential for such a key (TPM 2.0 Part 1, 24.4): the outer HMAC is left unchecked. */
function activate(
  { ek, request }: Tpm,
  { credentialBlob, encryptedSecret }: { credentialBlob: Buffer; encryptedSecret: Buffer },
): Buffer {
  const oaep = { padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256', oaepLabel: Buffer.from('IDENTITY\0') };
  const seed = privateDecrypt({ key: ek, ...oaep }, encryptedSecret.subarray(2));
  const name = publicName(parsePublic(request.akPublic));
  const key = createHmac('sha256', seed)
    .update(Buffer.from([0, 0, 0, 1]))
    .update('STORAGE\0')
    .update(name)
    .update(Buffer.from([0, 0, 0, 128]))
    .digest();
  const decipher = createDecipheriv('aes-128-cfb', key.subarray(0, 16), Buffer.alloc(16));
  return decipher.update(credentialBlob.subarray(2 + 2 + 32)).subarray(2);
}

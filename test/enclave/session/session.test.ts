import { readdir } from 'node:fs/promises';
import { Metadata } from '@grpc/grpc-js';
import type { ClientReadableStream } from '@grpc/grpc-js';
import { newNonce } from '../../../attestation/certificates/proof';
import { channelBinding } from '../../../runtime/rpc/channel-binding';
import { callUnary } from '../../../runtime/rpc/client';
import { fromServiceError, isServiceError } from '../../../runtime/rpc/errors';
import { SingleUseCredentials } from '../../../client/connect/credentials';
import { connectAttestedTls } from '../../../client/connect/tls';
import type { TLSSocket } from 'node:tls';
import { Claims, Purpose } from '../../../proto/gen/licensing/v1/evidence';
import { SessionServiceClient } from '../../../proto/gen/licensing/v1/session';
import type { ExecRequest, ExecResponse } from '../../../proto/gen/licensing/v1/session';
import { startEnclaveFixture } from '../../support/enclave';
import type { EnclaveFixture } from '../../support/enclave';
import { TRUST_DOMAIN } from '../../support/evidence';

let fixture: EnclaveFixture;
beforeAll(async () => {
  fixture = await startEnclaveFixture();
});
afterAll(() => fixture.stop());

/** A client that verifies nothing and attests only when told. */
async function open(): Promise<{ client: SessionServiceClient; socket: () => TLSSocket; keySha256: Buffer }> {
  const { clientKey, clientCertificates, evidence, enclave } = await fixture.session();
  let socket: TLSSocket | undefined;
  const credentials = new SingleUseCredentials(async (dialled) => {
    socket = await connectAttestedTls(dialled, {
      certificate: evidence.enclaveCertificate,
      clientKey,
      clientCertificates,
      trustDomain: TRUST_DOMAIN,
    });
    return socket;
  });
  const client = new SessionServiceClient(enclave.tlsAddress, credentials);
  return { client, socket: () => socket as TLSSocket, keySha256: Claims.decode(evidence.claims).clientKeySha256 };
}

function codeOf(call: ClientReadableStream<unknown>): Promise<string> {
  return new Promise((resolve) => {
    call.on('data', () => resolve('answered'));
    call.on('error', (error) => resolve(isServiceError(error) ? fromServiceError(error).code : String(error)));
  });
}

test('before Attest, every other call is refused and does nothing', async () => {
  const { client } = await open();
  await expect(callUnary(client, client.getStatus, {}, { timeout: 120_000 })).toRejectWithCode('session.not_attested');
  const exec = client.exec(new Metadata());
  exec.write({
    input: {
      $case: 'start',
      value: { argv: ['touch', 'made'], env: {}, directory: '', terminal: undefined, detach: false },
    },
  });
  expect(await codeOf(exec)).toBe('session.not_attested');
  expect(await codeOf(client.getFile({ path: '/etc/passwd' }, new Metadata()))).toBe('session.not_attested');
  const put = await new Promise<string>((resolve) => {
    const call = client.putFile(new Metadata(), (error) => resolve(error ? fromServiceError(error).code : 'answered'));
    call.write({ part: { $case: 'header', value: { path: 'made', mode: 0o644, size: 0n } } });
    call.end();
  });
  expect(put).toBe('session.not_attested');
  expect(await readdir(fixture.workspace)).toEqual([]);
  client.close();
});

test('an Attest that failed opens nothing', async () => {
  const { client } = await open();
  await expect(callUnary(client, client.attest, { nonce: Buffer.alloc(31) }, { timeout: 120_000 })).toRejectWithCode(
    'session.nonce',
  );
  await expect(callUnary(client, client.getStatus, {}, { timeout: 120_000 })).toRejectWithCode('session.not_attested');
  client.close();
});

test('one connection that is attested opens nothing for another one', async () => {
  const [one, two] = [await open(), await open()];
  await callUnary(one.client, one.client.attest, { nonce: newNonce() }, { timeout: 120_000 });
  await callUnary(one.client, one.client.getStatus, {}, { timeout: 120_000 });
  await expect(callUnary(two.client, two.client.getStatus, {}, { timeout: 120_000 })).toRejectWithCode(
    'session.not_attested',
  );
  one.client.close();
  two.client.close();
});

test("evidence is about this TLS session's exporter and this client's key", async () => {
  const [one, two] = [await open(), await open()];
  const nonce = newNonce();
  const answers = await Promise.all(
    [one, two].map(({ client }) => callUnary(client, client.attest, { nonce }, { timeout: 120_000 })),
  );
  const claims = answers.map(({ evidence }) => Claims.decode(evidence!.claims));
  expect(claims.map(({ purpose }) => purpose)).toEqual([Purpose.PURPOSE_SESSION, Purpose.PURPOSE_SESSION]);
  expect(claims.map(({ tlsExporter }) => tlsExporter)).toEqual(
    [one, two].map(({ socket }) => channelBinding(socket())),
  );
  expect(claims[0]!.tlsExporter.equals(claims[1]!.tlsExporter)).toBe(false);
  expect(claims.map(({ clientKeySha256 }) => clientKeySha256)).toEqual([one.keySha256, two.keySha256]);
  one.client.close();
  two.client.close();
});

describe('a client that says something else than the protocol', () => {
  const start = (...argv: string[]): ExecRequest => ({
    input: { $case: 'start', value: { argv, env: {}, directory: '', terminal: undefined, detach: false } },
  });
  test.each<[string, ExecRequest[], string]>([
    [
      'input before the start',
      [{ input: { $case: 'stdinEnd', value: {} } }, start('true')],
      'expected the start first',
    ],
    ['two starts', [start('sleep', '20'), start('true')], 'expected one start, got another'],
    ['nothing in a message', [start('sleep', '20'), { input: undefined }], 'expected an input, got an empty message'],
  ])('%s: is refused, and its command ended', async (_, messages, message) => {
    const { client } = await open();
    await callUnary(client, client.attest, { nonce: newNonce() }, { timeout: 120_000 });
    const call = client.exec(new Metadata());
    const ended = new Promise<unknown>((resolve) => {
      call.on('data', () => undefined).on('end', () => resolve('answered'));
      call.on('error', (error) => resolve(isServiceError(error) ? fromServiceError(error) : error));
    });
    for (const each of messages) call.write(each);
    expect(await ended).toMatchObject({ code: 'exec.stream', message });
    client.close();
  });
});

test('a client that has no more to say than its command gets output and status', async () => {
  const { client } = await open();
  await callUnary(client, client.attest, { nonce: newNonce() }, { timeout: 120_000 });
  const call = client.exec(new Metadata());
  const output: string[] = [];
  const ended = new Promise<void>((resolve, reject) => {
    call.on('data', ({ output: part }: ExecResponse) => {
      if (part?.$case === 'stdout') output.push(String(part.value));
      if (part?.$case === 'exit') output.push(`exit ${part.value.code}`);
    });
    call.on('error', reject);
    call.on('end', resolve);
  });
  const argv = ['sh', '-c', 'cat; echo done; exit 7'];
  call.write({
    input: { $case: 'start', value: { argv, env: {}, directory: '', terminal: undefined, detach: false } },
  });
  call.end();
  await ended;
  expect(output).toEqual(['done\n', 'exit 7']);
  client.close();
});

import { createPrivateKey, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { ChannelCredentials, Client, Metadata, status } from '@grpc/grpc-js';
import type { ServiceDefinition } from '@grpc/grpc-js';
import { importJWK } from 'jose';
import type { CryptoKey, JWK } from 'jose';
import pg from 'pg';
import { SingleUseCredentials } from '../../client/connect/credentials';
import { connectAttestedTls } from '../../client/connect/tls';
import { parseSession } from '../../client/session';
import type { Session } from '../../client/session';
import { newNonce } from '../../attestation/certificates/proof';
import { grpcTarget, parseAddress } from '../../runtime/rpc/address';
import { REASON_KEY } from '../../runtime/rpc/errors';
import { RULES } from '../../runtime/rpc/rules';
import type { Caller, Method } from '../../runtime/rpc/rules';
import { signSeatProof } from '../../attestation/seats/statements';
import {
  HoldSeatRequest,
  SessionServiceAttestRequest,
  SessionServiceAttestResponse,
} from '../../proto/gen/licensing/v1/session';
import * as account from '../../proto/gen/licensing/v1/account';
import * as admin from '../../proto/gen/licensing/v1/admin';
import * as attestor from '../../proto/gen/licensing/v1/attestor';
import * as enclave from '../../proto/gen/licensing/v1/enclave';
import * as enclaves from '../../proto/gen/licensing/v1/enclaves';
import * as enrol from '../../proto/gen/licensing/v1/enrol';
import * as launcher from '../../proto/gen/licensing/v1/launcher';
import * as licence from '../../proto/gen/licensing/v1/licence';
import * as login from '../../proto/gen/licensing/v1/login';
import * as seat from '../../proto/gen/licensing/v1/seat';
import * as session from '../../proto/gen/licensing/v1/session';
import * as transparency from '../../proto/gen/licensing/v1/transparency';
import * as trust from '../../proto/gen/licensing/v1/trust';
import type { Machine } from './machine';
import { issueWorkloadCredential } from '../../launcher/workload-credential';
import type { CertifiedKey } from '../../runtime/keys/key-pair';

type Place = 'signup' | 'login' | 'enrol' | 'admin' | 'attestor' | 'launcher' | 'enclave' | 'session';

/** Which program serves what, on one machine. */
const SERVICES: Array<[Place, ServiceDefinition]> = [
  ['signup', account.AccountServiceService],
  ['login', account.AccountDeletionServiceService],
  ['login', login.LoginServiceService],
  ['login', trust.TrustServiceService],
  ['login', transparency.TransparencyServiceService],
  ['login', licence.LicenceServiceService],
  ['login', enclaves.EnclaveManagementServiceService],
  ['login', seat.SeatServiceService],
  ['admin', admin.AdminServiceService],
  ['enrol', enrol.EnrolServiceService],
  ['attestor', attestor.AttestorServiceService],
  ['launcher', launcher.LauncherServiceService],
  ['enclave', enclave.EnclaveServiceService],
  ['session', session.SessionServiceService],
];

export interface Codec {
  requestSerialize(message: unknown): Buffer;
  requestDeserialize(bytes: Buffer): object;
}

const METHODS = new Map(
  SERVICES.flatMap(([place, definition]) =>
    Object.values(definition).map((method) => [method.path, { place, codec: method as unknown as Codec }] as const),
  ),
);

export function codecOf(method: Method): Codec {
  const found = METHODS.get(method);
  if (!found) throw new Error(`${method}: say in test/support/every-service.ts which program serves it`);
  return found.codec;
}

/** Whether a program with a database serves it, which counts whom it refuses. */
export function isFunctionOf(method: Method): boolean {
  return ['signup', 'login', 'enrol', 'admin'].includes(METHODS.get(method)?.place ?? '');
}

/** Methods for such a caller, less those of grpc.health.v1, which every server has. */
export function methodsFor(...callers: Caller[]): Method[] {
  return (Object.keys(RULES) as Method[]).filter(
    (method) => callers.includes(RULES[method].caller) && !method.startsWith('/grpc.'),
  );
}

export interface Outcome {
  code: string;
  reason: string;
  details: string;
}

/** A running installation of `sls up` with a user who is logged in: all of its servers, and whatever keys they have. */
export class EveryService {
  readonly session: Session;
  readonly trustDomain = 'sls.local';
  private readonly clients = new Map<Place, Client>();

  constructor(private readonly machine: Machine) {
    const saved = JSON.parse(readFileSync(machine.path('state', 'sls', 'session.json'), 'utf8')) as {
      session: unknown;
    };
    this.session = parseSession(JSON.stringify(saved.session));
  }

  file(...names: string[]): string {
    return readFileSync(this.machine.server(...names), 'utf8');
  }

  authority(name: string): CertifiedKey {
    return { certificate: this.file('keys', `${name}.crt`), privateKey: this.file('keys', `${name}.key`) };
  }

  get administrator(): CertifiedKey {
    return { certificate: this.file('admin', 'certificate.pem'), privateKey: this.file('admin', 'key.pem') };
  }

  /** Counts of refusals by reason, recorded ones included. */
  async refusals(): Promise<Map<string, number>> {
    const client = new pg.Client(this.file('run', 'database-url').trim());
    await client.connect();
    const { rows } = await client.query<{ reason: string; count: number }>(
      `SELECT reason, sum(count)::int AS count FROM (
         SELECT reason, count FROM audit_refusals UNION ALL
         SELECT r->'detail'->>'reason', (r->'detail'->>'count')::bigint FROM (SELECT convert_from(record, 'UTF8')::json AS r FROM audit) AS a WHERE r->>'kind' = 'refused'
       ) AS c GROUP BY reason`,
    );
    await client.end();
    return new Map(rows.map(({ reason, count }) => [reason, count]));
  }

  socket(place: 'admin' | 'enrol' | 'attestor' | 'launcher'): string {
    return this.machine.server('run', ...(place === 'attestor' ? [place] : []), `${place}.sock`);
  }

  /** A credential of a workload's, as the launcher makes it. */
  async workloadCredential(): Promise<string> {
    const key = (await importJWK(JSON.parse(this.file('keys', 'launcher.json')) as JWK, 'ES256')) as CryptoKey;
    const { user } = this.session.enclave;
    return issueWorkloadCredential(key, { user, workloadUid: randomUUID(), imageDigest: `sha256:${'0'.repeat(64)}` });
  }

  /** Calls any method with whatever bytes. Resolves with the call's status, which is CANCELLED where it goes on. */
  async call(
    method: Method,
    request: Buffer,
    metadata?: Metadata,
    onAnswer?: (bytes: Buffer) => void,
  ): Promise<Outcome> {
    const place = METHODS.get(method)?.place;
    if (!place) throw new Error(`${method}: say in test/support/every-service.ts which program serves it`);
    return callAt(await this.clientOf(place), method, request, metadata, onAnswer);
  }

  /** SessionService on a connection of its own, as whoever has the session's key gets there. `attested`: as far as that, and with a seat. */
  async openSession({ attested }: { attested: boolean }): Promise<Client> {
    const { clientKey, clientCertificates, enclave, evidence } = this.session;
    const options = {
      certificate: evidence.enclaveCertificate,
      clientKey,
      clientCertificates,
      trustDomain: this.trustDomain,
    };
    const client = new Client(
      enclave.tlsAddress,
      new SingleUseCredentials((dialled) => connectAttestedTls(dialled, options)),
      {
        'grpc.use_local_subchannel_pool': 1,
      },
    );
    if (attested) await this.seat(client);
    return client;
  }

  private async seat(client: Client): Promise<void> {
    const { clientKey, clientCertificates } = this.session;
    const ask = SessionServiceAttestRequest.encode({ nonce: newNonce() }).finish();
    const attested = SessionServiceAttestResponse.decode(
      await answerOf((on) => callAt(client, '/licensing.v1.SessionService/Attest', Buffer.from(ask), undefined, on)),
    );
    const evidence = attested.evidence!;
    const take = seat.TakeSeatRequest.encode({
      clientCertificates,
      evidence,
      proof: signSeatProof(createPrivateKey(clientKey), evidence.claims),
      closed: [],
    }).finish();
    const { grant } = seat.TakeSeatResponse.decode(
      await answerOf((on) => this.call('/licensing.v1.SeatService/TakeSeat', Buffer.from(take), undefined, on)),
    );
    await callAt(
      client,
      '/licensing.v1.SessionService/HoldSeat',
      Buffer.from(HoldSeatRequest.encode({ token: grant!.token }).finish()),
    );
  }

  close(): void {
    for (const client of this.clients.values()) client.close();
  }

  private async clientOf(place: Place): Promise<Client> {
    const known = this.clients.get(place);
    if (known) return known;
    const client = place === 'session' ? await this.openSession({ attested: true }) : this.dial(place);
    this.clients.set(place, client);
    return client;
  }

  private dial(place: Exclude<Place, 'session'>): Client {
    if (place === 'enclave')
      return new Client(grpcTarget(parseAddress(this.session.enclave.endpoint)), ChannelCredentials.createInsecure());
    if (place !== 'signup' && place !== 'login')
      return new Client(`unix:${this.socket(place)}`, ChannelCredentials.createInsecure());
    const { ports } = JSON.parse(this.file('installation.json')) as { ports: Record<string, number> };
    return new Client(
      `localhost:${ports[place]}`,
      ChannelCredentials.createSsl(Buffer.from(this.file('keys', 'server-ca.crt'))),
    );
  }
}

async function answerOf(call: (onAnswer: (bytes: Buffer) => void) => Promise<Outcome>): Promise<Buffer> {
  let answer: Buffer | undefined;
  const { code, details } = await call((bytes) => (answer = bytes));
  if (!answer) throw new Error(`${code}: ${details}`);
  return answer;
}

const PATIENCE_MS = 10_000;

/** On the wire all four kinds of call are one. */
export function callAt(
  client: Client,
  method: Method,
  request: Buffer,
  metadata = new Metadata(),
  onAnswer: (bytes: Buffer) => void = () => undefined,
): Promise<Outcome> {
  const same = (bytes: Buffer): Buffer => bytes;
  return new Promise((resolve) => {
    const call = client.makeBidiStreamRequest<Buffer, Buffer>(method, same, same, metadata);
    const timer = setTimeout(() => call.cancel(), PATIENCE_MS);
    call.on('error', () => undefined);
    call.on('data', onAnswer);
    call.on('status', ({ code, details, metadata: trailers }) => {
      clearTimeout(timer);
      resolve({ code: status[code] ?? String(code), details, reason: String(trailers.get(REASON_KEY)[0] ?? '') });
    });
    call.write(request);
    call.end();
  });
}

import { createHash, createPrivateKey, createPublicKey, randomBytes, randomUUID } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { Metadata } from '@grpc/grpc-js';
import { callUnary } from '../../runtime/rpc/client';
import { signClosing, signHeartbeat, signSeatProof } from '../../attestation/seats/statements';
import { makeIdentity } from '../../enclave/identity';
import type { Identity } from '../../enclave/identity';
import { Purpose } from '../../proto/gen/licensing/v1/evidence';
import type { Claims, Evidence } from '../../proto/gen/licensing/v1/evidence';
import type { Closing, SeatGrant, SeatServiceClient, TakeSeatRequest } from '../../proto/gen/licensing/v1/seat';
import { beginSession, TRUST_DOMAIN } from './accounts';
import { makeEvidence } from './evidence';
import type { FakeTpm } from './evidence';
import { newClientKey } from './login-client';
import type { Replica } from './replica';
import { issueClientCertificate } from '../../licensing/authority/client';
import type { CertifiedKey } from '../../runtime/keys/key-pair';

/** A client that has logged in. */
export interface SeatClient {
  user: string;
  session: string;
  accessToken: string;
  key: KeyObject;
  clientCertificates: Buffer[];
}

let names = 0;

/** An account with a session, and a client certificate for it. */
export async function newSeatClient(
  { backend }: Pick<Replica, 'backend'>,
  clientCa: CertifiedKey,
  user?: string,
): Promise<SeatClient> {
  const id = user ?? (await backend.accounts.create(`seated${(names += 1)}`, 'x'))!;
  const { session, accessToken } = await beginSession(backend, id);
  const { privateKey: key, csr } = await newClientKey();
  return {
    user: id,
    session,
    accessToken,
    key,
    clientCertificates: await issueClientCertificate(clientCa, csr, {
      user: id,
      session,
      trustDomain: TRUST_DOMAIN,
      seconds: 600,
    }),
  };
}

let shared: Promise<Identity> | undefined;
/** The enclave of all connections, unless a test wants another. */
export const enclaveIdentity = (): Promise<Identity> => (shared ??= makeIdentity(TRUST_DOMAIN));

/** An open connection of a client's to an enclave, as its evidence tells of it. */
export interface Connection {
  client: SeatClient;
  identity: Identity;
  tlsExporter: Buffer;
  evidence: Evidence;
}

export async function openConnection(
  client: SeatClient,
  tpm: FakeTpm,
  claims: Partial<Claims> = {},
): Promise<Connection> {
  const identity = await enclaveIdentity();
  const tlsExporter = claims.tlsExporter ?? randomBytes(32);
  const spki = createHash('sha256').update(publicKeyOf(client.key)).digest();
  const evidence = makeEvidence(tpm, {
    claims: {
      purpose: Purpose.PURPOSE_SESSION,
      user: client.user,
      clientKeySha256: spki,
      workloadUid: `workload-${client.user}`,
      ...claims,
      tlsExporter,
    },
    enclaveCertificate: identity.certificate,
  });
  return { client, identity, tlsExporter, evidence };
}

function publicKeyOf(key: KeyObject): Buffer {
  return createPublicKey(key).export({ type: 'spki', format: 'der' });
}

export function takeRequest({ client, evidence }: Pick<Connection, 'client' | 'evidence'>): TakeSeatRequest {
  const proof = signSeatProof(client.key, evidence.claims);
  return { clientCertificates: client.clientCertificates, evidence, proof, closed: [] };
}

const call = { timeout: 120_000 };

/** @throws RpcError */
export async function takeSeat(
  service: SeatServiceClient,
  connection: Pick<Connection, 'client' | 'evidence'>,
): Promise<SeatGrant> {
  return (await callUnary(service, service.takeSeat, takeRequest(connection), call)).grant!;
}

/** As the enclave of the connection signs it, unless the test says otherwise. @throws RpcError */
export async function renewSeat(
  service: SeatServiceClient,
  { identity, tlsExporter }: Pick<Connection, 'identity' | 'tlsExporter'>,
  seat: string,
  {
    at = Date.now(),
    privateKey = identity.privateKey,
    about = seat,
    token = '',
  }: { at?: number; privateKey?: string; about?: string; token?: string } = {},
): Promise<SeatGrant> {
  const signature = signHeartbeat(createPrivateKey(privateKey), { seat: about, tlsExporter, at });
  return (await callUnary(service, service.renewSeat, { seat, heartbeat: { at: BigInt(at), signature }, token }, call))
    .grant!;
}

/** As the enclave of the connection signs that it is closed, unless the test says otherwise. */
export function closingOf(
  { identity, tlsExporter }: Pick<Connection, 'identity' | 'tlsExporter'>,
  seat: string,
  { privateKey = identity.privateKey, trustDomain = TRUST_DOMAIN }: { privateKey?: string; trustDomain?: string } = {},
): Closing {
  const at = Date.now();
  return {
    at: BigInt(at),
    signature: signClosing(createPrivateKey(privateKey), { trustDomain, seat, tlsExporter, at }),
  };
}

/** By its token; without the enclave's word unless that is given. @throws RpcError */
export async function endSeat(service: SeatServiceClient, token: string, closing?: Closing): Promise<void> {
  await callUnary(service, service.endSeat, { token, closing }, call);
}

export function bearer({ accessToken }: Pick<SeatClient, 'accessToken'>): { timeout: number; metadata: Metadata } {
  const metadata = new Metadata();
  metadata.set('authorization', `Bearer ${accessToken}`);
  return { ...call, metadata };
}

export const newWorkload = (): string => `workload-${randomUUID()}`;

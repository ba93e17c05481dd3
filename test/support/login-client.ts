import 'reflect-metadata';
import { createPrivateKey, webcrypto } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { Metadata } from '@grpc/grpc-js';
import * as x509 from '@peculiar/x509';
import { newNonce, signProof } from '../../attestation/certificates/proof';
import { fromServiceError, isServiceError } from '../../runtime/rpc/errors';
import type {
  LoginRequest,
  LoginResponse,
  LoginResult,
  LoginServiceClient,
  LoginStage,
} from '../../proto/gen/licensing/v1/login';

/** A client's TLS key and its certificate request. */
export interface ClientKey {
  privateKey: KeyObject;
  csr: Buffer;
}

export async function newClientKey(): Promise<ClientKey> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  x509.cryptoProvider.set(webcrypto);
  const csr = await x509.Pkcs10CertificateRequestGenerator.create({
    name: 'CN=client',
    keys,
    signingAlgorithm: algorithm,
  });
  const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey));
  return { privateKey: createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' }), csr: Buffer.from(csr.rawData) };
}

/** A request as a good client makes it, with a fresh nonce. */
export function loginRequest(
  key: ClientKey,
  credential: LoginRequest['credential'],
  enclave = '',
  oneTimeCode = '',
): LoginRequest {
  const nonce = newNonce();
  return {
    credential,
    nonce,
    csr: key.csr,
    proof: signProof(key.privateKey, nonce),
    includeEventLog: false,
    clientName: 'test',
    enclave,
    oneTimeCode,
  };
}

export function byPassword(username: string, password: string, knownSession = ''): LoginRequest['credential'] {
  return { $case: 'password', value: { username, password, knownSession } };
}

export function byRefreshToken(token: string): LoginRequest['credential'] {
  return { $case: 'refreshToken', value: token };
}

export function byToken(token: string): LoginRequest['credential'] {
  return { $case: 'accessToken', value: token };
}

/** Logs in. @throws RpcError with the server's code */
export function logIn(
  client: LoginServiceClient,
  request: LoginRequest,
  {
    timeout = 120_000,
    signal,
    metadata = new Metadata(),
    onStage,
  }: { timeout?: number; signal?: AbortSignal; metadata?: Metadata; onStage?(stage: LoginStage): void } = {},
): Promise<{ result: LoginResult; stages: LoginStage[] }> {
  return new Promise((resolve, reject) => {
    const call = client.login(request, metadata, { deadline: Date.now() + timeout });
    signal?.addEventListener('abort', () => call.cancel(), { once: true });
    const stages: LoginStage[] = [];
    let result: LoginResult | undefined;
    call.on('data', ({ event }: LoginResponse) => {
      if (event?.$case === 'progress') {
        stages.push(event.value.stage);
        onStage?.(event.value.stage);
      }
      if (event?.$case === 'result') result = event.value;
    });
    call.on('end', () => (result ? resolve({ result, stages }) : undefined));
    call.on('error', (error: Error) => reject(isServiceError(error) ? fromServiceError(error) : error));
  });
}

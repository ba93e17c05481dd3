import { importJWK } from 'jose';
import type { CryptoKey } from 'jose';
import { unary } from '../../runtime/rpc/handlers';
import { startServer } from '../../runtime/rpc/server';
import type { TrustBundle } from '../../attestation/trust/bundle';
import { signRevocations } from '../../attestation/trust/revocations';
import type { Revoked } from '../../attestation/trust/revocations';
import { signTrustBundle } from '../../attestation/trust/signed-bundle';
import { TrustServiceService } from '../../proto/gen/licensing/v1/trust';
import { makeSigningKey } from './trust';
import type { TestSigningKey } from './trust';

/** TrustService with keys of a test's own. What it answers is the test's to set. */
export interface TestTrustService {
  address: string;
  trustKey: TestSigningKey;
  revocationKey: TestSigningKey;
  /** What stands in the list. */
  revoked: Revoked;
  /** When the list says that it was made; now, unless set. */
  madeAt?: Date;
  /** The newest bundle's sequence by the list; that of `bundle`, unless set. */
  saysSequence?: number;
  /** Instead of a list. */
  revocations?: string;
  /** The newest bundle; undefined: there is none. */
  bundle?: TrustBundle;
  /** Instead of the signed bundle. */
  signed?: string;
  /** Names of the methods that were called, in order. */
  calls: string[];
  /** A list as the service would give it now. */
  list(): Promise<string>;
  stop(): Promise<void>;
}

export async function startTrustService(): Promise<TestTrustService> {
  const service: TestTrustService = {
    address: '',
    trustKey: makeSigningKey('trust'),
    revocationKey: makeSigningKey('revocation'),
    revoked: { nodes: [], aks: [], eks: [], users: [] },
    calls: [],
    async list() {
      const { kid } = service.revocationKey.publicKey;
      const key = (await importJWK(service.revocationKey.privateKey, 'ES256')) as CryptoKey;
      return (
        service.revocations ??
        signRevocations(
          { ...service.revoked, trustSequence: service.saysSequence ?? service.bundle?.sequence ?? 0 },
          { kid, key },
          service.madeAt ?? new Date(),
        )
      );
    },
    stop: () => server.stop(0),
  };
  const server = await startServer({
    address: { scheme: 'http', host: '127.0.0.1', port: 0 },
    services: [
      {
        definition: TrustServiceService,
        implementation: {
          getTrustBundle: unary(async () => {
            service.calls.push('getTrustBundle');
            if (service.signed !== undefined) return { bundle: service.signed };
            if (!service.bundle) throw new Error('the test set no bundle');
            return { bundle: await signTrustBundle(service.bundle, service.trustKey.privateKey) };
          }),
          getRevocations: unary(async () => {
            service.calls.push('getRevocations');
            return { revocations: await service.list() };
          }),
        },
      },
    ],
  });
  service.address = `http://127.0.0.1:${server.port}`;
  return service;
}

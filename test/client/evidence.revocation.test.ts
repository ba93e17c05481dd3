import { createHash } from 'node:crypto';
import { attest, connect } from '../../client/index';
import type { Session, TrustBundle } from '../../client/index';
import { readAttestationKeyCertificate } from '../../attestation/certificates/attestation-key';
import { TPMA_OBJECT } from '../../attestation/tpm/constants';
import { startEnclaveFixture } from '../support/enclave';
import type { EnclaveFixture } from '../support/enclave';
import { makeAuthority } from '../support/authority';
import { makeFakeTpm } from '../support/evidence';
import { makeSigningKey } from '../support/trust';

let fixture: EnclaveFixture;
let session: Session;
beforeEach(async () => {
  fixture = await startEnclaveFixture();
  session = await fixture.session();
});
afterEach(() => fixture.stop());

const refused = (step: string, code: string): unknown =>
  expect.objectContaining({ name: 'AttestationRefused', step, code });

/** What a refused client must not have done. */
function expectNothingSent(): void {
  const sessions = fixture.attestor.requests.filter(({ tlsExporter }) => tlsExporter.length > 0);
  expect(sessions).toEqual([]);
}

describe('a client refuses to connect when the list names', () => {
  test.each([
    ['the node', 'nodes', 'node', () => fixture.attestor.tpm.node],
    [
      'the attestation key',
      'aks',
      'ak',
      () => createHash('sha256').update(fixture.attestor.tpm.akPublic).digest('hex'),
    ],
    [
      'the endorsement key',
      'eks',
      'ek',
      () => readAttestationKeyCertificate(fixture.attestor.tpm.akCertificate).details.ekSha256,
    ],
    ['the user', 'users', 'user', () => fixture.user],
  ] as const)('%s', async (_, list, code, subject) => {
    (await connect(fixture.trust, session)).close();
    fixture.attestor.requests.length = 0;
    fixture.trustService.revoked = { ...fixture.trustService.revoked, [list]: [subject()] };
    await expect(connect(fixture.trust, session)).rejects.toEqual(refused('revocation', `revocation.${code}`));
    await expect(attest(fixture.trust, session)).rejects.toEqual(refused('revocation', `revocation.${code}`));
    expectNothingSent();
  });
});

test('a client refuses a revoked attestation key whose public area has one bit flipped', async () => {
  const { tpm } = fixture.attestor;
  const subject = createHash('sha256').update(tpm.akPublic).digest('hex');
  fixture.trustService.revoked = { ...fixture.trustService.revoked, aks: [subject] };
  const genuine = tpm.akPublic;
  for (const bit of [TPMA_OBJECT.noDA, TPMA_OBJECT.stClear, TPMA_OBJECT.adminWithPolicy, TPMA_OBJECT.userWithAuth]) {
    tpm.akPublic = Buffer.from(genuine);
    tpm.akPublic.writeUInt32BE(genuine.readUInt32BE(4) ^ bit, 4);
    await expect(fixture.session().then((other) => connect(fixture.trust, other))).rejects.toEqual(
      refused('ak_certificate', 'ak_certificate.public_area'),
    );
  }
  expectNothingSent();
});

describe('a client fails closed when the list', () => {
  test('is not there', async () => {
    fixture.trustService.revocations = '';
    await expect(connect(fixture.trust, session)).rejects.toEqual(refused('revocation', 'revocation.missing'));
    expectNothingSent();
  });

  test('is an old one that is shown again', async () => {
    fixture.trustService.madeAt = new Date(Date.now() - 61_000);
    await expect(connect(fixture.trust, session)).rejects.toEqual(refused('revocation', 'revocation.stale'));
    expectNothingSent();
  });

  test('is signed by a key that no bundle of the trust key names', async () => {
    fixture.trustService.bundle = { ...fixture.trust };
    fixture.trustService.revocationKey = makeSigningKey('another');
    await expect(connect(fixture.trust, session)).rejects.toEqual(refused('revocation', 'revocation.signature'));
    expectNothingSent();
  });

  test('can not be had: the login service is away', async () => {
    await fixture.trustService.stop();
    await expect(connect(fixture.trust, session)).rejects.toMatchObject({
      name: 'RpcError',
      code: 'service.unreachable',
    });
    expectNothingSent();
  });
});

test('evidence is judged before the list: what is wrong with it is what the client hears', async () => {
  fixture.trustService.revocations = '';
  const forged = {
    ...session,
    evidence: { ...session.evidence, signature: Buffer.alloc(session.evidence.signature.length) },
  };
  await expect(connect(fixture.trust, forged)).rejects.toEqual(
    expect.objectContaining({ phase: 'login', step: 'signature' }),
  );
});

describe('a newer trust bundle', () => {
  test('is asked for only when the list says that there is one', async () => {
    (await connect(fixture.trust, session)).close();
    expect(fixture.trustService.calls).toEqual(['getRevocations']);
  });

  test('is taken, kept by the caller, and used at once: a policy that became stricter refuses', async () => {
    fixture.trustService.bundle = {
      ...fixture.trust,
      sequence: 2,
      policy: { softwareTpm: 'refuse', imageDigests: [`sha256:${'00'.repeat(32)}`] },
    };
    const kept: TrustBundle[] = [];
    const onTrust = (newer: TrustBundle): TrustBundle => (kept.push(newer), newer);
    await expect(connect(fixture.trust, session, { onTrust })).rejects.toEqual(
      refused('policy', 'policy.image_digest'),
    );
    expect(kept.map(({ sequence }) => sequence)).toEqual([2]);
    expectNothingSent();
  });

  test('brings the root of a rotated attestation CA before evidence by it is judged', async () => {
    const authority = await makeAuthority('next attestation root');
    fixture.attestor.tpm.authority = authority;
    const renewed = await makeFakeTpm({ authority });
    Object.assign(fixture.attestor.tpm, renewed);
    const fresh = await fixture.session();
    await expect(connect(fixture.trust, fresh)).rejects.toEqual(
      expect.objectContaining({ code: 'ak_certificate.untrusted' }),
    );
    fixture.trustService.bundle = {
      ...fixture.trust,
      sequence: 2,
      attestationRoots: [authority.certificate, ...fixture.trust.attestationRoots],
    };
    (await connect(fixture.trust, fresh)).close();
  });

  test('brings the next revocation key before a list by it is read', async () => {
    const next = makeSigningKey('revocation-2');
    fixture.trustService.revocationKey = next;
    fixture.trustService.bundle = {
      ...fixture.trust,
      sequence: 2,
      revocationKeys: { keys: [next.publicKey, ...fixture.trust.revocationKeys.keys] },
    };
    (await connect(fixture.trust, session)).close();
  });

  test('with the sequence of the one that is held and other roots is refused aloud', async () => {
    const stranger = await makeAuthority('another attestation root');
    fixture.trustService.saysSequence = fixture.trust.sequence + 1;
    fixture.trustService.bundle = { ...fixture.trust, attestationRoots: [stranger.certificate] };
    await expect(connect(fixture.trust, session)).rejects.toEqual(refused('trust', 'trust.conflict'));
    expectNothingSent();
  });

  test('by another trust key is refused aloud, and nothing else of it is used', async () => {
    const other = makeSigningKey('trust');
    fixture.trustService.trustKey = other;
    fixture.trustService.bundle = { ...fixture.trust, sequence: 2, trustKey: other.publicKey };
    await expect(connect(fixture.trust, session, { onTrust: () => Promise.reject(new Error('kept')) })).rejects.toEqual(
      refused('trust', 'trust.key_changed'),
    );
    expectNothingSent();
  });
});

import { readEvidenceJson } from '../../attestation/evidence/json';
import type { Expected } from '../../attestation/evidence/expected';
import type { Policy } from '../../attestation/evidence/policy';
import { verifyEvidence } from '../../attestation/evidence/verify';
import { at, readVectors } from './read';
import type { Expect } from './read';

type Trust = Parameters<typeof verifyEvidence>[1]['trust'];
interface EvidenceVector {
  name: string;
  expect: Expect & { warnings?: string[] };
  expected: Record<string, unknown>;
  evidence: unknown;
  trust?: Trust;
  policy?: Policy;
  now?: number;
}
const file = readVectors<{
  trust: Trust;
  policy: Policy;
  now: number;
  claims: Record<string, unknown>;
  vectors: EvidenceVector[];
}>('evidence');

/** Hex becomes bytes; null stands for what nobody but the evidence says. */
function expectation(json: Record<string, unknown>): Expected {
  const bytes = ['nonce', 'clientKeySha256', 'tlsExporter', 'certificateSha256'];
  const read = ([name, value]: [string, unknown]): [string, unknown] => {
    if (bytes.includes(name)) return [name, Buffer.from(String(value), 'hex')];
    if (name === 'previousClock') {
      const { clock, ...rest } = value as { clock: number };
      return [name, { ...rest, clock: BigInt(clock) }];
    }
    return [name, value ?? undefined];
  };
  return Object.fromEntries(Object.entries(json).map(read)) as unknown as Expected;
}

function verify(vector: EvidenceVector): ReturnType<typeof verifyEvidence> {
  return verifyEvidence(readEvidenceJson(JSON.stringify(vector.evidence)), {
    trust: vector.trust ?? file.trust,
    policy: vector.policy ?? file.policy,
    expected: expectation(vector.expected),
    now: at(vector.now ?? file.now),
  });
}

describe('evidence that is accepted', () => {
  test.each(file.vectors.filter(({ expect: { ok } }) => ok))('$name', (vector) => {
    const { claims, warnings } = verify(vector);
    expect(warnings.map(({ code }) => code)).toEqual(vector.expect.warnings);
    const { user, node, workloadUid, imageDigest } = file.claims;
    expect(claims).toMatchObject({ user, node, workloadUid, imageDigest });
    expect(claims.nonce.toString('hex')).toBe(file.claims['nonce']);
  });
});

describe('evidence that is refused', () => {
  test.each(file.vectors.filter(({ expect: { ok } }) => !ok))('$name: $expect.code', (vector) => {
    expect(() => verify(vector)).toThrowWithCode(vector.expect.code!);
  });

  test('every step of the verification refuses something', () => {
    const steps = new Set(file.vectors.flatMap(({ expect: { code } }) => code?.split('.')[0] ?? []));
    expect([...steps]).toEqual([
      'ak_certificate',
      'ak_attributes',
      'signature',
      'quote',
      'pcr_digest',
      'root',
      'claims',
      'freshness',
      'certificate_hash',
      'identity',
      'policy',
    ]);
  });
});

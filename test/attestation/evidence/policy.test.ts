import { readMeasuredBoot } from '../../../attestation/boot/measured';
import { checkPolicy } from '../../../attestation/evidence/policy';

const facts = {
  softwareTpm: false,
  imageDigest: `sha256:${'11'.repeat(32)}`,
  node: 'node-a',
  boot: readMeasuredBoot([], undefined),
};
const code = (value: string, message: string): Error =>
  expect.objectContaining({ name: 'PolicyError', step: 'policy', code: value, message });

test('what is wanted passes', () => {
  expect(() => checkPolicy(facts, { softwareTpm: 'refuse' })).not.toThrow();
  expect(() =>
    checkPolicy(facts, { softwareTpm: 'refuse', imageDigests: ['sha256:x', facts.imageDigest], nodes: ['node-a'] }),
  ).not.toThrow();
  expect(() => checkPolicy({ ...facts, softwareTpm: true }, { softwareTpm: 'allow' })).not.toThrow();
});

test('a software TPM is refused unless allowed', () => {
  expect(() => checkPolicy({ ...facts, softwareTpm: true }, { softwareTpm: 'refuse' })).toThrow(
    code('policy.software_tpm', 'expected a hardware TPM, got a software one'),
  );
});

test('another image is refused, and an empty list allows none', () => {
  const wanted = `sha256:${'22'.repeat(32)}`;
  expect(() => checkPolicy(facts, { softwareTpm: 'refuse', imageDigests: [wanted] })).toThrow(
    code('policy.image_digest', `expected ${wanted}, got ${facts.imageDigest}`),
  );
  expect(() => checkPolicy(facts, { softwareTpm: 'refuse', imageDigests: [] })).toThrow(
    code('policy.image_digest', `expected one of 0 allowed images, got ${facts.imageDigest}`),
  );
});

test('another node is refused', () => {
  expect(() => checkPolicy(facts, { softwareTpm: 'refuse', nodes: ['node-b'] })).toThrow(
    code('policy.node', 'expected node-b, got node-a'),
  );
});

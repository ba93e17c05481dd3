import fc from 'fast-check';
import { EvidenceFileError, readEvidenceJson, writeEvidenceJson } from '../../../attestation/evidence/json';
import { MAX_EVENT_LOG_BYTES } from '../../../attestation/tpm/event-log/constants';
import { verifyEvidence } from '../../../attestation/evidence/verify';
import type { Evidence } from '../../../proto/gen/licensing/v1/evidence';
import { makeEvidence, makeFakeTpm, verifyOptions } from '../../support/evidence';
import type { FakeTpm } from '../../support/evidence';

let tpm: FakeTpm;
let evidence: Evidence;
beforeAll(async () => {
  tpm = await makeFakeTpm();
  evidence = makeEvidence(tpm, { leavesAfter: [Buffer.from('another')] });
});

const change = (edit: (json: Record<string, unknown>) => void): string => {
  const json = JSON.parse(writeEvidenceJson(evidence)) as Record<string, unknown>;
  edit(json);
  return JSON.stringify(json);
};

test('evidence survives its file, and verifies with it and the trust bundle alone', () => {
  const read = readEvidenceJson(writeEvidenceJson(evidence));
  expect(read).toEqual(evidence);
  expect(() => verifyEvidence(read, verifyOptions(tpm))).not.toThrow();
});

test('a file that is no JSON, or too large, is an error that says so', () => {
  expect(() => readEvidenceJson('-----BEGIN')).toThrowWithCode('evidence_file.not_json');
  expect(() => readEvidenceJson(`"${'a'.repeat(1_000_000)}"`)).toThrowWithCode('evidence_file.too_large');
  const longest = Math.ceil(MAX_EVENT_LOG_BYTES / 3) * 4 + 256 * 1024;
  expect(readEvidenceJson(writeEvidenceJson(evidence).padEnd(longest))).toEqual(evidence);
  expect(() => readEvidenceJson(writeEvidenceJson(evidence).padEnd(longest + 1))).toThrowWithCode(
    'evidence_file.too_large',
  );
});

test.each<[string, (json: Record<string, unknown>) => void, string]>([
  ['a missing field', (json) => delete json['attest'], 'attest'],
  ['bytes that are no base64', (json) => (json['attest'] = '!!'), 'attest'],
  ['base64 without padding', (json) => (json['attest'] = 'YQ'), 'attest'],
  ['base64 for URLs', (json) => (json['attest'] = '-_-_'), 'attest'],
  ['a number as text', (json) => (json['leafIndex'] = '1'), 'leafIndex'],
  ['a negative number', (json) => (json['leafCount'] = -1), 'leafCount'],
  ['a number of more than 32 bits', (json) => (json['leafCount'] = 2 ** 32), 'leafCount'],
  ['33 PCRs', (json) => (json['pcrs'] = Array(33).fill({ index: 1, sha256: 'YQ==' })), 'pcrs'],
  ['a path of 33 hashes', (json) => (json['merklePath'] = Array(33).fill('YQ==')), 'merklePath'],
  ['a fraction', (json) => (json['leafCount'] = 1.5), 'leafCount'],
  ['null for a list', (json) => (json['pcrs'] = null), 'pcrs'],
  ['a thousand certificates', (json) => (json['akCertificates'] = Array(1000).fill('YQ==')), 'akCertificates'],
])('%s is an error that names the field', (_, edit, field) => {
  expect(() => readEvidenceJson(change(edit))).toThrowWithCode('evidence_file.malformed');
  expect(() => readEvidenceJson(change(edit))).toThrow(field);
});

test('what a newer release wrote as well is passed over', () => {
  const more = change((json) => {
    json['extra'] = { of: 'a newer release' };
    (json['pcrs'] as Array<Record<string, unknown>>)[0]!['sha384'] = 'YQ==';
  });
  expect(readEvidenceJson(more)).toEqual(readEvidenceJson(change(() => undefined)));
});

test('arbitrary JSON gives evidence or an EvidenceFileError', () => {
  fc.assert(
    fc.property(fc.oneof(fc.json({ maxDepth: 6 }), fc.string()), (text) => {
      try {
        readEvidenceJson(text);
      } catch (error) {
        expect(error).toBeInstanceOf(EvidenceFileError);
      }
    }),
    { numRuns: 1000 },
  );
});

test('deep nesting is an error, not a crash', () => {
  expect(() => readEvidenceJson('['.repeat(200_000))).toThrow(EvidenceFileError);
  expect(() => readEvidenceJson(`${'['.repeat(100_000)}${']'.repeat(100_000)}`)).toThrow(EvidenceFileError);
});

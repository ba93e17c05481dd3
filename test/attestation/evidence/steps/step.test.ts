import { CertificateError } from '../../../../attestation/certificates/errors';
import { EvidenceError } from '../../../../attestation/evidence/errors';
import { stepRunner } from '../../../../attestation/evidence/steps/step';
import { TpmError } from '../../../../attestation/tpm/errors';

const fail = (error: Error) => () => {
  throw error;
};

test('what a layer below refuses is refused by the step, for the same reason', () => {
  const step = stepRunner(undefined);
  const chain = new CertificateError('certificate.expired', 'ended');
  expect(() => step('ak_certificate', fail(chain))).toThrowWithCode('ak_certificate.expired', { cause: chain });
  const structure = new TpmError('tpm.truncated', 'short');
  expect(() => step('quote', fail(structure))).toThrowWithCode('quote.malformed', { cause: structure });
});

test("a step's own refusal, and a fault of the program, stay what they are", () => {
  const step = stepRunner(undefined);
  for (const error of [new EvidenceError('root', 'root.path', 'short'), new TypeError('a fault')]) {
    let caught: unknown;
    try {
      step('root', fail(error));
    } catch (thrown) {
      caught = thrown;
    }
    expect(caught).toBe(error);
  }
});

test('a step that held is told, and its value handed on', () => {
  const told: unknown[] = [];
  const step = stepRunner((passed) => told.push(passed));
  expect(step('claims', () => ({ value: 5, detail: 'five' }))).toBe(5);
  expect(told).toEqual([expect.objectContaining({ step: 'claims', detail: 'five' })]);
});

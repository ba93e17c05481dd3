import { CertificateError } from '../../certificates/errors';
import { TpmError } from '../../tpm/errors';
import { EvidenceError, STEPS } from '../errors';
import type { Step } from '../errors';
import type { ChainCode, EvidenceCode, TpmStructureCode } from '../../../errors/verifier';

/** A step that held: what it established, and a line for people. */
export interface PassedStep {
  step: Step;
  title: string;
  detail: string;
}

/** What a check hands on, and what it saw. */
export interface Passed<T> {
  value: T;
  detail: string;
}

/**
 * Runs one step. Errors of the layers below become an EvidenceError of this step, with the reason kept:
 * `certificate.expired` in step ak_certificate is `ak_certificate.expired`.
 */
export function stepRunner(
  onStep: ((step: PassedStep) => void) | undefined,
): <T>(step: Step, check: () => Passed<T>) => T {
  return (step, check) => {
    const { value, detail } = explainFailure(step, check);
    onStep?.({ step, title: STEPS[step], detail });
    return value;
  };
}

function explainFailure<T>(step: Step, check: () => T): T {
  try {
    return check();
  } catch (error) {
    if (step === 'policy' || !(error instanceof TpmError || error instanceof CertificateError)) throw error;
    // Which reasons each step can come to is for the parsers below to say; the test of this file walks them all.
    const code = `${step}.${REASONS[error.code] ?? error.code.split('.')[1]}` as EvidenceCode;
    throw new EvidenceError(step, code, error.message, { cause: error });
  }
}

const REASONS: Partial<Record<TpmStructureCode | ChainCode, string>> = {
  'tpm.truncated': 'malformed',
  'tpm.trailing': 'malformed',
  'tpm.invalid': 'malformed',
  'tpm.attest_type': 'type',
};

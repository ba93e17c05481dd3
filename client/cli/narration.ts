import { LoginStage } from '../../proto/gen/licensing/v1/login';
import type { VerifiedStep } from '../index';
import type { Output } from './output';

const STAGES: Partial<Record<LoginStage, string>> = {
  [LoginStage.LOGIN_STAGE_SCHEDULED]: 'starting the enclave: waiting for a machine',
  [LoginStage.LOGIN_STAGE_PULLING]: 'starting the enclave: fetching its image',
  [LoginStage.LOGIN_STAGE_STARTING]: 'starting the enclave',
  [LoginStage.LOGIN_STAGE_QUOTING]: 'quoting: the TPM signs what runs there',
};

/** Tells the stages of a login as the service reports them. */
export function tellStage(out: Output): (stage: LoginStage) => void {
  return (stage) => {
    const text = STAGES[stage];
    if (text !== undefined) out.progress(text);
  };
}

/**
 * Tells each step that held: its title always, what was seen only with `details`. The steps of the connection's own evidence are those of
 * the login's once more, so without `details` its last one speaks for all of them.
 */
export function tellStep(
  out: Output,
  { details, skip }: { details: boolean; skip?: VerifiedStep['phase'] },
): (step: VerifiedStep) => void {
  return ({ phase, step, title, detail }) => {
    if (phase === skip) return;
    const last = phase !== 'session' || step === 'session';
    if (!details && !last) return;
    out.done(`${last ? '' : 'again, '}${step}: ${title}${details && detail ? ` [${detail}]` : ''}`);
  };
}

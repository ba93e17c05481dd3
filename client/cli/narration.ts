import type { PassedStep } from '../../core/evidence/verify';
import { LoginStage } from '../../proto/gen/licensing/v1/login';
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

/** Tells each step that held: its title always, what was seen only when asked for. */
export function tellStep(out: Output, details: boolean): (step: Pick<PassedStep, 'title'> & { step: string; detail?: string }) => void {
  return ({ step, title, detail }) => out.done(`${step}: ${title}${details && detail ? ` [${detail}]` : ''}`);
}

import { LicenceState as StateMessage } from '../../proto/gen/licensing/v1/licence';
import type { Plan as PlanMessage } from '../../proto/gen/licensing/v1/licence';
import type { LicenceState, Plan } from './plan';

const STATES: Record<LicenceState, StateMessage> = {
  valid: StateMessage.LICENCE_STATE_VALID,
  grace: StateMessage.LICENCE_STATE_GRACE,
  expired: StateMessage.LICENCE_STATE_EXPIRED,
  revoked: StateMessage.LICENCE_STATE_REVOKED,
};

/** A licence's state as the protocol writes it. */
export function stateToMessage(state: LicenceState): StateMessage {
  return STATES[state];
}

/** A state that is not known counts as no good. */
export function stateFromMessage(message: StateMessage): LicenceState {
  return (Object.keys(STATES) as LicenceState[]).find((state) => STATES[state] === message) ?? 'expired';
}

/** A plan as the protocol writes it: what is unlimited is left empty. */
export function planToMessage({ images = [], cpu = '', memory = '', ...rest }: Plan): PlanMessage {
  return { ...rest, images, cpu, memory };
}

/** Not checked: see planSchema. */
export function planFromMessage(message: PlanMessage | undefined): Plan {
  const { name = '', images = [], enclaves = 0, seats = 0, cpu = '', memory = '' } = message ?? {};
  return {
    name,
    ...(images.length > 0 && { images }),
    enclaves,
    seats,
    ...(cpu !== '' && { cpu }),
    ...(memory !== '' && { memory }),
  };
}

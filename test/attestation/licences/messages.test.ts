import {
  planFromMessage,
  planToMessage,
  stateFromMessage,
  stateToMessage,
} from '../../../attestation/licences/messages';
import { LicenceState } from '../../../proto/gen/licensing/v1/licence';

test.each([
  { name: 'team', enclaves: 2, seats: 3 },
  { name: 'team', enclaves: 2, seats: 3, images: [`sha256:${'a'.repeat(64)}`], cpu: '500m', memory: '2Gi' },
])('%j is the same plan in the protocol and back', (plan) => {
  expect(planFromMessage(planToMessage(plan))).toStrictEqual(plan);
});

test('a plan that is not there allows nothing', () => {
  expect(planFromMessage(undefined)).toStrictEqual({ name: '', enclaves: 0, seats: 0 });
});

test('states are the same in the protocol and back, and one that is not known is no good', () => {
  for (const state of ['valid', 'grace', 'expired', 'revoked'] as const)
    expect(stateFromMessage(stateToMessage(state))).toBe(state);
  expect(stateFromMessage(LicenceState.LICENCE_STATE_UNSPECIFIED)).toBe('expired');
  expect(stateFromMessage(99 as LicenceState)).toBe('expired');
});

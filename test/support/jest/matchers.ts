import type { Code } from '../../../errors/codes';

declare global {
  // eslint-disable-next-line @typescript-eslint/no-namespace -- how @types/jest is extended
  namespace jest {
    // eslint-disable-next-line @typescript-eslint/no-unused-vars -- has to be declared as it is there
    interface Matchers<R, T> {
      /** The function throws an error with this code of the project, and with these properties. */
      toThrowWithCode(code: Code, properties?: Record<string, unknown>): R;
      /** The promise is rejected with such an error. */
      toRejectWithCode(code: Code, properties?: Record<string, unknown>): Promise<R>;
    }
  }
}

function judge(
  context: jest.MatcherContext,
  outcome: { error: unknown } | undefined,
  wanted: Record<string, unknown>,
): jest.CustomMatcherResult {
  const { equals, utils } = context;
  const pass = outcome !== undefined && equals(outcome.error, expect.objectContaining(wanted));
  const { code, name, message, grpcStatus } = (outcome?.error ?? {}) as Record<string, unknown>;
  const got = outcome === undefined ? 'nothing thrown' : utils.printReceived({ name, code, grpcStatus, message });
  return {
    pass,
    message: () => `expected ${pass ? 'another error than' : ''} ${utils.printExpected(wanted)}, got ${got}`,
  };
}

expect.extend({
  toThrowWithCode(received: () => unknown, code: Code, properties: Record<string, unknown> = {}) {
    let outcome: { error: unknown } | undefined;
    try {
      received();
    } catch (error) {
      outcome = { error };
    }
    return judge(this, outcome, { ...properties, code });
  },
  async toRejectWithCode(received: Promise<unknown>, code: Code, properties: Record<string, unknown> = {}) {
    const outcome = await received.then(
      () => undefined,
      (error: unknown) => ({ error }),
    );
    return judge(this, outcome, { ...properties, code });
  },
});

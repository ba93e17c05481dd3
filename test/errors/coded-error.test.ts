import { hasCode } from '../../errors/coded-error';
import { PolicyError } from '../../attestation/evidence/errors';
import { ConfigError } from '../../runtime/config/environment';

test('an error is told apart by its code', () => {
  const error: unknown = new PolicyError('policy.node', 'expected node-1, got node-2');
  expect(hasCode(error, 'policy.node')).toBe(true);
  expect(hasCode(error, 'policy.image_digest', 'policy.node')).toBe(true);
  expect(hasCode(error, 'policy.image_digest')).toBe(false);
});

test('what is not an error of the project has no code of it', () => {
  expect(hasCode(Object.assign(new Error('no'), { code: 'policy.node' }), 'policy.node')).toBe(false);
  expect(hasCode(undefined, 'policy.node')).toBe(false);
});

test('a mistyped code does not compile', () => {
  const error = new ConfigError('PORT: expected a number, got x');
  // @ts-expect-error: there is no such code
  expect(hasCode(error, 'config.invalit')).toBe(false);
  // @ts-expect-error: nor is it one that this class can have
  expect(error.code === 'policy.node').toBe(false);
});

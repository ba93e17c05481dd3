import { z } from 'zod';
import {
  criticalMember,
  criticalProblem,
  unknownMembers,
  withUnknown,
} from '../../../attestation/documents/understood';

const schema = z.object({
  ...criticalMember,
  name: z.string(),
  policy: z.object({ rule: z.string().optional() }).optional(),
  states: z.array(z.object({ pcr: z.number() })).default([]),
});
const problemOf = (document: object): ReturnType<typeof criticalProblem> =>
  criticalProblem(document, schema.parse(document));

test('what is known and there may be critical', () => {
  expect(problemOf({ name: 'a' })).toBeUndefined();
  expect(problemOf({ name: 'a', more: 1 })).toBeUndefined();
  expect(
    problemOf({
      name: 'a',
      policy: { rule: 'x' },
      states: [{ pcr: 1 }],
      critical: ['name', 'policy.rule', 'states.pcr'],
    }),
  ).toBeUndefined();
});

test.each<[string, object, string]>([
  ['a member', { more: 1, critical: ['name', 'more'] }, 'more'],
  ['a member of a member', { policy: { more: 1 }, critical: ['policy.more'] }, 'policy.more'],
  ['a member of what is not known itself', { more: { of: 1 }, critical: ['more.of'] }, 'more.of'],
  ['a member of one element', { states: [{ pcr: 1 }, { pcr: 2, more: 1 }], critical: ['states.more'] }, 'states.more'],
])('%s that is not known needs a newer release', (_, document, name) => {
  expect(problemOf({ name: 'a', ...document })).toEqual({
    newer: true,
    message: `needs a newer release, which knows ${name}`,
  });
});

test.each(['more', 'policy', 'policy.rule', 'states.pcr', 'name.length', 'toString', 'critical.length'])(
  '%s, which is not there, can not be critical',
  (name) => {
    expect(problemOf({ name: 'a', critical: [name] })).toEqual({
      newer: false,
      message: `calls critical what it doesn't have: ${name}`,
    });
  },
);

test.each([
  [[]],
  [['a', 'a']],
  [['']],
  [['x'.repeat(257)]],
  [[1]],
  ['name'],
  [null],
  [{}],
  [Array.from({ length: 33 }, (_, at) => `a${at}`)],
])('critical may not be %j', (critical) => expect(schema.safeParse({ name: 'a', critical }).success).toBe(false));

test('each path that a schema passed over is named once', () => {
  const document = {
    name: 'a',
    more: 1,
    policy: { other: 2 },
    states: [
      { pcr: 1, x: 1 },
      { pcr: 2, x: 2 },
    ],
  };
  expect(unknownMembers(document, schema.parse(document))).toEqual(['more', 'policy.other', 'states.x']);
});

test('a successor keeps what is not known, and nothing of what is', () => {
  const document = { name: 'a', more: 1, policy: { rule: 'x', other: 2 } };
  const read = schema.parse(document);
  expect(withUnknown({ name: 'b', policy: {} }, document, read)).toEqual({ name: 'b', more: 1, policy: { other: 2 } });
  expect(withUnknown({ name: 'b' }, document, read)).toEqual({ name: 'b', more: 1 });
  expect(withUnknown({ name: 'b' }, undefined, undefined)).toEqual({ name: 'b' });
});

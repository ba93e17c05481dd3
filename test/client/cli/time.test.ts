import { parseTime } from '../../../client/cli/time';

test.each([
  ['2027-01-01', 'end', '2027-01-01T23:59:59.000Z'],
  ['2027-01-01', 'beginning', '2027-01-01T00:00:00.000Z'],
  ['2027-01-01T12:00Z', 'end', '2027-01-01T12:00:00.000Z'],
  ['2027-01-01 12:00:30+01:00', 'end', '2027-01-01T11:00:30.000Z'],
  ['2028-02-29', 'end', '2028-02-29T23:59:59.000Z'],
] as const)('%s, its %s, is %s', (text, day, expected) => {
  expect(parseTime('--until', text, day).toISOString()).toBe(expected);
});

test.each(['2027-01-01T12:00', '2027-02-31', '2027-13-01', '2027', '1', 'tomorrow', '01/02/2027', ''])(
  'no zone, no such day, or no date at all is refused: %s',
  (text) => {
    expect(() => parseTime('--until', text, 'end')).toThrow(/^expected --until in ISO 8601/);
  },
);

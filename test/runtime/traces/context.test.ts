import { Metadata } from '@grpc/grpc-js';
import fc from 'fast-check';
import { traceOf } from '../../../runtime/rpc/trace';
import { formatTraceparent, newContext, parseTraceparent } from '../../../runtime/traces/context';

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const SPAN = '00f067aa0ba902b7';

test('a traceparent of W3C Trace Context, 3.2.2.5, is read, and written as it was', () => {
  expect(parseTraceparent(`00-${TRACE}-${SPAN}-01`)).toEqual({ traceId: TRACE, spanId: SPAN, sampled: true });
  expect(parseTraceparent(`00-${TRACE}-${SPAN}-00`)).toEqual({ traceId: TRACE, spanId: SPAN, sampled: false });
  expect(formatTraceparent({ traceId: TRACE, spanId: SPAN, sampled: true })).toBe(`00-${TRACE}-${SPAN}-01`);
  const made = newContext(undefined, false);
  expect(parseTraceparent(formatTraceparent(made))).toEqual(made);
});

test('a later version may have more behind it (3.2.4)', () => {
  expect(parseTraceparent(`cc-${TRACE}-${SPAN}-01-what-comes-then`)).toEqual({
    traceId: TRACE,
    spanId: SPAN,
    sampled: true,
  });
});

test.each([
  ['nothing', ''],
  ['rubbish', 'rubbish'],
  ['version ff', `ff-${TRACE}-${SPAN}-01`],
  ['version 00 with more behind it', `00-${TRACE}-${SPAN}-01-x`],
  ['a trace of zeros', `00-${'0'.repeat(32)}-${SPAN}-01`],
  ['a span of zeros', `00-${TRACE}-${'0'.repeat(16)}-01`],
  ['capitals', `00-${TRACE.toUpperCase()}-${SPAN}-01`],
  ['a short trace', `00-${TRACE.slice(1)}-${SPAN}-01`],
  ['no flags', `00-${TRACE}-${SPAN}`],
  ['another line', `00-${TRACE}-${SPAN}-01\n`],
  ['a kilobyte', `cc-${TRACE}-${SPAN}-01-${'x'.repeat(1000)}`],
])('%s is no traceparent', (_what, text) => {
  expect(parseTraceparent(text)).toBeUndefined();
});

test('whatever comes is read as nothing or as a context, and never thrown at', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.anything(),
        fc.stringMatching(/^[0-9a-f]{2}-[0-9a-f]{30,34}-[0-9a-f]{14,18}-[0-9a-f]{1,3}$/),
      ),
      (text) => {
        const context = parseTraceparent(text);
        if (context) expect(formatTraceparent(context)).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$/);
      },
    ),
    { numRuns: 2_000 },
  );
});

test('two traceparents in the metadata are none', () => {
  const metadata = new Metadata();
  metadata.add('traceparent', `00-${TRACE}-${SPAN}-01`);
  expect(traceOf(metadata)).toBeDefined();
  metadata.add('traceparent', `00-${TRACE.replace('4', '5')}-${SPAN}-01`);
  expect(traceOf(metadata)).toBeUndefined();
});

import { describeRestart } from '../../../client/cli/new-enclave';

test.each([
  [true, false, 'the enclave lab was started anew; its files are kept'],
  [false, true, 'the enclave lab was started anew: its workspace is empty now'],
  [undefined, true, 'the enclave lab was started anew: its workspace may be empty now'],
])('of an enclave that was started anew it is told whether its files are there: %s', (kept, lost, text) => {
  expect(describeRestart('lab', kept)).toEqual({ text, lost });
});

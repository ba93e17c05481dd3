import { credentials, status } from '@grpc/grpc-js';
import type { ServiceError } from '@grpc/grpc-js';
import type { ExecRequest, ExecResponse, SessionServiceServer } from '../../../proto/gen/licensing/v1/session';
import { SessionServiceClient, SessionServiceService } from '../../../proto/gen/licensing/v1/session';
import { REASON_KEY, RpcError } from '../../../runtime/rpc/errors';
import { bidiStream } from '../../../runtime/rpc/handlers';
import type { Implementation } from '../../../runtime/rpc/handlers';
import { CallReader } from '../../../runtime/rpc/read-call';
import { startServer } from '../../../runtime/rpc/server';

/** Calls a method that answers each message by one, and refuses the call after that while it waits for the next. */
async function refusal(): Promise<{ answers: number; error: ServiceError }> {
  const exec = bidiStream<ExecRequest, ExecResponse>(async (call, { signal }) => {
    const requests = new CallReader(call, signal);
    await requests.next();
    void requests.next().catch(() => undefined);
    call.write({ output: { $case: 'stdout', value: Buffer.from('answer') } });
    throw new RpcError('exec.argv', status.INVALID_ARGUMENT, 'refused');
  });
  const server = await startServer({
    address: { scheme: 'http', host: '127.0.0.1', port: 0 },
    services: [
      {
        definition: SessionServiceService,
        implementation: { exec } as unknown as Implementation<SessionServiceServer>,
      },
    ],
  });
  const client = new SessionServiceClient(`127.0.0.1:${server.port}`, credentials.createInsecure());
  try {
    const call = client.exec();
    let answers = 0;
    call.on('data', () => (answers += 1));
    call.write({ input: { $case: 'stdinEnd', value: {} } });
    const error = await new Promise<ServiceError>((resolve) => call.on('error', resolve));
    return { answers, error };
  } finally {
    client.close();
    await server.stop(0);
  }
}

test('a call that is refused while something is being written, and its reader waits, tells its caller both', async () => {
  const { answers, error } = await refusal();
  expect(error).toMatchObject({ code: status.INVALID_ARGUMENT });
  expect(error.metadata.get(REASON_KEY)).toEqual(['exec.argv']);
  expect(answers).toBe(1);
});

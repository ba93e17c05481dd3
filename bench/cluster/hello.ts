import { startServer } from '../../core/rpc/server';
import { runProgram } from '../../core/rpc/program';
import { parseAddress } from '../../core/rpc/address';

/** A plain gRPC service in Node: what starts from zero are compared with. */
runProgram(async () => {
  const server = await startServer({ address: parseAddress('http://0.0.0.0:8080'), services: [] });
  return () => server.stop();
});

import { startServer } from '../../runtime/rpc/server';
import { runProgram } from '../../runtime/rpc/program';
import { parseAddress } from '../../runtime/rpc/address';

/** A plain gRPC service in Node: what starts from zero are compared with. */
runProgram(async () => {
  const server = await startServer({ address: parseAddress('http://0.0.0.0:8080'), services: [] });
  return () => server.stop();
});

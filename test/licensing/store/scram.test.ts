import pg from 'pg';
import { scramVerifier } from '../../../licensing/store/scram';
import { emptyDatabase, noPostgres } from '../../support/postgres';

// RFC 7677, section 3: the server's signature in that exchange is by this ServerKey, the client's proof by this StoredKey.
test('is that of the example in RFC 7677', () => {
  const salt = Buffer.from('W22ZaJ0SNY7soEsUEjb6gQ==', 'base64');
  expect(scramVerifier('pencil', salt)).toBe(
    'SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=',
  );
});

(noPostgres === undefined ? test : test.skip)('is what the server makes of the same password', async () => {
  const server = await emptyDatabase();
  const client = new pg.Client(server.url);
  await client.connect();
  await client.query(`BEGIN; CREATE ROLE sls_test_scram PASSWORD 'Ab-c_9'`);
  const { rows } = await client.query<{ kept: string }>(
    `SELECT rolpassword AS kept FROM pg_authid WHERE rolname = 'sls_test_scram'`,
  );
  await client.query('ROLLBACK');
  await client.end();
  await server.stop();
  const kept = rows[0]!.kept;
  const salt = Buffer.from(/:([^$]+)\$/.exec(kept)![1]!, 'base64');
  expect(scramVerifier('Ab-c_9', salt)).toBe(kept);
  expect(scramVerifier('Ab-c_8', salt)).not.toBe(kept);
});

import type { Migration } from '../migrate';

/**
 * The audit becomes a log that only grows. `record` holds the bytes that are hashed and shown; `kind`, `detail` and `at` are how a replica of
 * before says it, and a trigger makes a record of that. A record gets its place in the tree, `sequence`, afterwards and once (licensing/audit/merge.ts).
 *
 * The triggers keep the functions, and whoever injects statements into them, from changing or removing anything. The owner of the tables can drop
 * triggers: that is what signed tree heads are for.
 */
export const transparency: Migration = {
  name: '0012-transparency',
  sql: `
    ALTER TABLE audit ALTER COLUMN at DROP NOT NULL;
    ALTER TABLE audit ALTER COLUMN kind DROP NOT NULL;
    ALTER TABLE audit ALTER COLUMN detail DROP NOT NULL;
    ALTER TABLE audit ADD COLUMN record bytea;
    ALTER TABLE audit ADD COLUMN leaf_sha256 bytea;
    ALTER TABLE audit ADD COLUMN sequence bigint UNIQUE;

    CREATE FUNCTION audit_record(at timestamptz, kind text, detail jsonb) RETURNS bytea LANGUAGE sql AS $$
      SELECT convert_to(jsonb_build_object('id', gen_random_uuid(), 'at', to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), 'kind', kind, 'detail', detail)::text, 'UTF8')
    $$;
    UPDATE audit SET record = audit_record(at, kind, detail);
    UPDATE audit SET leaf_sha256 = sha256('\\x00'::bytea || record), at = NULL, kind = NULL, detail = NULL;
    ALTER TABLE audit ALTER COLUMN record SET NOT NULL;
    ALTER TABLE audit ALTER COLUMN leaf_sha256 SET NOT NULL;
    ALTER TABLE audit ADD CONSTRAINT audit_leaf_of_record CHECK (leaf_sha256 = sha256('\\x00'::bytea || record));
    CREATE UNIQUE INDEX audit_leaf_sha256 ON audit (leaf_sha256);
    CREATE INDEX audit_not_in_the_tree ON audit (id) WHERE sequence IS NULL;

    CREATE TABLE audit_nodes (
      level smallint NOT NULL CHECK (level > 0),
      position bigint NOT NULL,
      sha256 bytea NOT NULL,
      PRIMARY KEY (level, position)
    );
    CREATE TABLE audit_tree (
      id boolean PRIMARY KEY DEFAULT true CHECK (id),
      size bigint NOT NULL,
      frontier bytea NOT NULL,
      head text
    );
    INSERT INTO audit_tree (size, frontier) VALUES (0, '');
    CREATE TABLE audit_refusals (
      minute timestamptz NOT NULL,
      reason text NOT NULL,
      user_id text NOT NULL,
      count bigint NOT NULL,
      PRIMARY KEY (minute, reason, user_id)
    );

    CREATE FUNCTION audit_of_before() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        NEW.record := audit_record(coalesce(NEW.at, now()), NEW.kind, NEW.detail);
        NEW.leaf_sha256 := sha256('\\x00'::bytea || NEW.record);
        NEW.at := NULL;
        NEW.kind := NULL;
        NEW.detail := NULL;
        RETURN NEW;
      END
    $$;
    CREATE TRIGGER audit_of_before BEFORE INSERT ON audit FOR EACH ROW WHEN (NEW.record IS NULL) EXECUTE FUNCTION audit_of_before();

    CREATE FUNCTION audit_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        RAISE EXCEPTION 'the audit log only grows: % refused', TG_OP USING ERRCODE = 'restrict_violation';
      END
    $$;
    CREATE TRIGGER audit_no_place_before_time BEFORE INSERT ON audit FOR EACH ROW WHEN (NEW.sequence IS NOT NULL) EXECUTE FUNCTION audit_only_grows();
    CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit FOR EACH ROW
      WHEN (OLD.sequence IS NOT NULL OR NEW.sequence IS NULL OR NEW.id <> OLD.id OR NEW.record <> OLD.record OR NEW.leaf_sha256 <> OLD.leaf_sha256)
      EXECUTE FUNCTION audit_only_grows();
    CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit FOR EACH ROW EXECUTE FUNCTION audit_only_grows();
    CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION audit_only_grows();
    CREATE TRIGGER audit_nodes_no_change BEFORE UPDATE OR DELETE ON audit_nodes FOR EACH ROW EXECUTE FUNCTION audit_only_grows();
    CREATE TRIGGER audit_nodes_no_truncate BEFORE TRUNCATE ON audit_nodes FOR EACH STATEMENT EXECUTE FUNCTION audit_only_grows();
    CREATE TRIGGER audit_tree_no_delete BEFORE DELETE ON audit_tree FOR EACH ROW EXECUTE FUNCTION audit_only_grows();
    CREATE TRIGGER audit_tree_no_truncate BEFORE TRUNCATE ON audit_tree FOR EACH STATEMENT EXECUTE FUNCTION audit_only_grows();
    CREATE TRIGGER audit_tree_grows BEFORE UPDATE ON audit_tree FOR EACH ROW WHEN (NEW.size < OLD.size) EXECUTE FUNCTION audit_only_grows()`,
};

package preflight

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// prepareHint is how an application's developer makes the source ready.
const prepareHint = `Run "cf update-service INSTANCE -c '{"prepare_migration": "true"}'" for the source, then create a new service key if the old one still fails.`

// inGo lists the checks that take more than one statement of SQL.
func inGo() []check {
	return []check{
		{id: "S01", side: Source, severity: Critical, since: 10, text: "Cannot connect to the source database ({detail})", hint: "See that the service instance is running and its service key is valid."},
		{id: "S02", side: Source, severity: Critical, since: 1, text: "Source version {version} is not supported (minimum is 10)", hint: "Upgrade the source to version 10 or later."},
		{id: "S03", side: Target, severity: Critical, since: 10, text: "Target version {target} is older than source version {source}", hint: "Use a target of the source's version or later."},
		{id: "S06", side: Source, severity: Critical, since: 10, text: "Login '{detail}' has no replication privilege", hint: prepareHint, leavesOffline: true},
		{id: "S39", side: Target, severity: Critical, since: 10, text: "{subject} not available on the target", hint: "Use a target whose plan offers the language, or drop it from the source."},
		{id: "S40", side: Target, severity: Critical, since: 10, text: "{subject} not available on the target", hint: "Use a target whose plan offers the extension, or drop it from the source."},
		{id: "S41", side: Target, severity: Critical, since: 10, text: "Extension {detail} is newer than the target's ({version})", hint: "Use a target with the extension's version or later."},
		{id: "S42", side: Target, severity: Critical, since: 10, text: "Extension {detail} needs a superuser on the target", hint: "Have the operator create the extension on the target."},
		{id: "S45", side: Target, severity: Critical, since: 10, text: "Database encoding differs (source {source}, target {target})", hint: "Use a target with the source's encoding."},
		{id: "S46", side: Target, severity: Warning, since: 10, text: "Default collation differs (source {source}, target {target})", hint: "See that the applications do not depend on the order of texts."},
		{id: "S71", side: Source, severity: Critical, since: 10, text: "Source address leads to several servers or to a connection pool (snapshot not found)", hint: "Use the address of the server itself."},
		{id: "S77", side: Source, severity: Critical, since: 10, text: "pg_dump {version} cannot read source version {source}", hint: "Have the operator of the migration service install a pg_dump of the source's version or later."},
		{id: "S78", side: Source, severity: Critical, since: 10, text: "Replication cannot be started on the source ({detail})", hint: "Use the address of the server itself and not of a connection pool.", onlyLogical: true},
		{id: "S79", side: Source, severity: Warning, since: 10, text: "Running transactions delay the start of the replication (no slot could be made in 10 s, {count:transaction} found)", hint: "End these transactions before the replication starts.", onlyLogical: true},
		{id: "S81", side: Target, severity: Critical, since: 10, text: "Objects need a superuser on the target ({count:object} found)", hint: "Drop these objects from the source, or install the extension that they belong to."},
		{id: "S83", side: Source, severity: Critical, since: 10, text: "pg_dump cannot be run", hint: "Have the operator of the migration service install pg_dump."},
		{id: "S86", side: Target, severity: Critical, since: 10, text: "Version {target} of the target does not know what version {source} knew ({count:object} found)", hint: "Use other types, operators or functions on the source, or a target of an earlier version."},
		{id: "S88", side: Source, severity: Critical, since: 10, text: "Functions of indexes, constraints and columns rely on a search path ({count:object} found)", hint: "Write schemas before the names in these functions, or give them a path of their own with ALTER FUNCTION ... SET search_path."},
		{id: "T01", side: Target, severity: Critical, since: 10, text: "Cannot connect to the target database ({detail})", hint: "See that the service instance is running and its service key is valid."},
		{id: "T02", side: Target, severity: Critical, since: 10, text: "Source and target are the same database", hint: "Use another service instance as the target."},
		{id: "T08", side: Target, severity: Warning, since: 10, text: "Login cannot disable triggers (foreign keys of {detail} of tables are checked during the finalization)", hint: "Plan the time for it, in which the source cannot be written."},
		{id: "T06", side: Target, severity: Critical, since: 10, text: "Login has no CREATE privilege on {subject}", hint: "Grant CREATE on the schema to the login, or use a new service instance as the target."},
		{id: "T13", side: Target, severity: Critical, since: 10, text: "{subject} not exist on the target (used by {count:policy|policies})", hint: "Create the role on the target, or drop the policies."},
		{id: "T15", side: Target, severity: Critical, since: 14, text: "Target has no lz4 compression ({count:column} found)", hint: "Use a target with lz4, or set the compression of these columns to default with ALTER TABLE ... ALTER COLUMN ... SET COMPRESSION."},
		{id: "T18", side: Target, severity: Critical, since: 10, text: "Target already holds objects of the same name ({count} found): {detail}", hint: "Use a new service instance as the target, or drop these objects."},
		{id: "T19", side: Target, severity: Critical, since: 10, text: "The target holds what an earlier migration left (schema _pgmig)", hint: "Run 'cf pg-migrate delete-replication --clean-target' for that migration, or use a new target database."},
		{id: "T20", side: Target, severity: Critical, since: 10, text: "Schema public does not exist on the target", hint: "Create the schema public on the target."},
		{id: "T21", side: Target, severity: Critical, since: 10, text: "Login cannot use {subject} on the target ({count:foreign server} found)", hint: "Have the operator grant the login USAGE on the foreign data wrapper, or drop the foreign servers from the source."},
		{id: "T23", side: Target, severity: Critical, since: 10, text: "Target already holds large objects with the numbers of the source's ({count:object} found): {detail}", hint: "Use a new service instance as the target, or remove these large objects with lo_unlink."},
		{id: "T24", side: Target, severity: Critical, since: 10, text: "Lock table of the target is too small for the finalization, which locks {count:relation} at once (max_locks_per_transaction is {detail}, {needed} needed)", hint: "Have max_locks_per_transaction of the target raised."},
		{id: "T25", side: Target, severity: Warning, since: 10, text: "Lock table of the target may be too small for the finalization, which locks {count:relation} at once (max_locks_per_transaction is {detail}, {needed} recommended)", hint: "Have max_locks_per_transaction of the target raised."},
		{id: "T26", side: Target, severity: Warning, since: 10, text: "Foreign keys of {detail} of tables are checked during the finalization", hint: "Plan the time for it, in which the source cannot be written."},
		{id: "T22", side: Target, severity: Critical, since: 10, text: "{subject} not exist on the target (used by {count:user mapping})", hint: "Create the role on the target, or drop the user mappings."},
	}
}

// facts are what is known of a database for the comparison with the other one. What could not be
// found out is empty, and not compared.
type facts struct {
	major           int
	login           string
	superuser       bool
	system          string // tells the database apart from all others
	encoding        string
	collation       string
	languages       []string
	extensions      map[string]string // version of those that are installed
	available       map[string]string // version of those that can be installed, nil if unknown
	untrusted       []string          // extensions that want a superuser
	names           []string          // of what could collide, with the kind in front
	schemas         []string
	creatable       []string // schemas that the login may create objects in
	policyRoles     []string // one for each use
	mappingRoles    []string // one for each use
	roles           []string
	wrappers        []string // foreign data wrappers, one for each server that uses it
	usable          []string // foreign data wrappers that the login may use, nil if unknown
	special         []string // objects that only a superuser can create
	removed         []string // objects that later versions do not know
	removedIn       []int32  // the version in which each of them is not known any more
	lz4Columns      int64
	withoutLZ4      bool
	foreignKeyBytes int64
	bytes           int64 // size of the database
	openingLocks    int64 // that the transaction which opens the target takes
	locksPerSlot    int64 // max_locks_per_transaction
	lockSlots       int64 // what it is multiplied by
	largeObjects    []int64
	disableTriggers bool
	own             bool // the target has been used by this migration already
}

// foreignKeysMatter is the size of tables from which on the check of their foreign keys takes time.
const foreignKeysMatter = 10 << 30

// collect gathers the facts. It says whether the target has been used by this migration already.
func (i *inspection) collect(ctx context.Context, major int) (bool, error) {
	f := &facts{major: major, extensions: map[string]string{}}
	i.facts = f
	type question struct {
		id    string
		since int
		sql   string
		into  []any
	}
	var extensionNames, extensionVersions, availableNames, availableVersions []string
	questions := []question{
		{"S06", 10, `SELECT session_user::text, rolsuper FROM pg_roles WHERE rolname = current_user`, []any{&f.login, &f.superuser}},
		{"T02", 10, systemSQL, []any{&f.system}},
		{"S45", 10, localeSQL, []any{&f.encoding, &f.collation}},
		{"S39", 10, `SELECT coalesce(array_agg(lanname::text ORDER BY lanname), '{}') FROM pg_language`, []any{&f.languages}},
		{"S40", 10, `SELECT coalesce(array_agg(extname::text ORDER BY extname), '{}'), coalesce(array_agg(extversion ORDER BY extname), '{}') FROM pg_extension`, []any{&extensionNames, &extensionVersions}},
		{"T18", 10, namesSQL, []any{&f.names}},
		{"T06", 10, schemasSQL, []any{&f.schemas, &f.creatable}},
		{"T13", 10, `SELECT coalesce(array_agg(rolname::text), '{}') FROM pg_roles`, []any{&f.roles}},
	}
	if i.side == Source {
		questions = append(questions,
			question{"S68", 10, `SELECT pg_database_size(current_database())`, []any{&f.bytes}},
			question{"T13", 10, policyRolesSQL, []any{&f.policyRoles}},
			question{"T22", 10, mappingRolesSQL, []any{&f.mappingRoles}},
			question{"T21", 10, serverWrappersSQL, []any{&f.wrappers}},
			question{"S81", 10, superuserObjectsSQL, []any{&f.special}},
			question{"S86", 10, removedSQL, []any{&f.removed, &f.removedIn}},
			question{"T24", 10, openingLocksSQL, []any{&f.openingLocks}},
			question{"T15", 14, `SELECT count(*) FROM ` + userTables + ` t JOIN pg_attribute a ON a.attrelid = t.oid WHERE a.attcompression = 'l' AND NOT a.attisdropped`, []any{&f.lz4Columns}},
			question{"T08", 10, `SELECT coalesce(sum(t.relpages), 0) * current_setting('block_size')::bigint FROM ` + userTables + ` t
				WHERE EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conrelid = t.oid AND k.contype = 'f')`, []any{&f.foreignKeyBytes}},
		)
	} else {
		questions = append(questions,
			question{"S41", 10, `SELECT coalesce(array_agg(name::text ORDER BY name), '{}'), coalesce(array_agg(coalesce(installed_version, default_version, '') ORDER BY name), '{}') FROM pg_available_extensions`, []any{&availableNames, &availableVersions}},
			question{"S42", 10, untrustedSQL, []any{&f.untrusted}},
			question{"T23", 10, `SELECT coalesce(array_agg(oid::bigint), '{}') FROM pg_largeobject_metadata`, []any{&f.largeObjects}},
			question{"T24", 10, lockTableSQL, []any{&f.locksPerSlot, &f.lockSlots}},
			question{"T21", 10, usableWrappersSQL, []any{&f.usable}},
			question{"T15", 14, `SELECT NOT coalesce(bool_or('lz4' = ANY (enumvals)), false) FROM pg_settings WHERE name = 'default_toast_compression'`, []any{&f.withoutLZ4}},
		)
	}
	for _, q := range questions {
		if q.since > major {
			continue
		}
		if err := i.queryRow(ctx, q.sql, q.into); err != nil {
			if i.conn.IsClosed() {
				return false, err
			}
			i.fail(q.id, err)
		}
	}
	for n, name := range extensionNames {
		f.extensions[name] = extensionVersions[n]
	}
	if availableNames != nil {
		f.available = make(map[string]string, len(availableNames))
	}
	for n, name := range availableNames {
		f.available[name] = availableVersions[n]
	}
	if i.side == Source {
		return false, nil
	}
	f.disableTriggers = i.canDisableTriggers(ctx)
	own, err := i.checkEarlierMigration(ctx)
	f.own = own
	return own, err
}

// canDisableTriggers tries it, because the privilege can be granted from PostgreSQL 15 on.
func (i *inspection) canDisableTriggers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, statementLimit)
	defer cancel()
	_, err := i.conn.Exec(ctx, "BEGIN; SET LOCAL session_replication_role = replica", pgx.QueryExecModeSimpleProtocol)
	_, rollbackErr := i.conn.Exec(ctx, "ROLLBACK", pgx.QueryExecModeSimpleProtocol)
	return err == nil && rollbackErr == nil
}

// checkEarlierMigration looks at who made the schema _pgmig. The error is that of a lost connection.
func (i *inspection) checkEarlierMigration(ctx context.Context) (bool, error) {
	var schema, progress bool
	err := i.queryRow(ctx, `SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = '_pgmig'),
		EXISTS (SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = '_pgmig' AND c.relname = 'progress')`, []any{&schema, &progress})
	own := false
	if err == nil && progress {
		// A table that we cannot read is not ours.
		_ = i.queryRow(ctx, `SELECT EXISTS (SELECT 1 FROM _pgmig.progress WHERE migration::text = @migration::text)`, []any{&own})
	}
	switch {
	case err != nil && i.conn.IsClosed():
		return false, err
	case err != nil:
		i.fail("T19", err)
	case schema && !own:
		i.report("T19", result{})
	}
	return own, nil
}

// checkExtensionPrivileges tries to create, without leaving them, the extensions that want a
// superuser: some platforms let an ordinary login create them all the same.
func (i *inspection) checkExtensionPrivileges(ctx context.Context, source facts) []Finding {
	var refused []string
	for _, name := range slices.Sorted(maps.Keys(source.extensions)) {
		if slices.Contains(i.facts.untrusted, name) && !i.canCreateExtension(ctx, name) {
			refused = append(refused, name)
		}
	}
	if len(refused) == 0 {
		return nil
	}
	return []Finding{i.catalog["S42"].finding(result{
		count: int64(len(refused)), names: refused,
		values: map[string]string{"detail": quoted(refused)},
	})}
}

func (i *inspection) canCreateExtension(ctx context.Context, name string) bool {
	ctx, cancel := context.WithTimeout(ctx, statementLimit)
	defer cancel()
	_, err := i.conn.Exec(ctx, "BEGIN READ WRITE; SET LOCAL search_path = public; CREATE EXTENSION "+pgx.Identifier{name}.Sanitize()+" CASCADE",
		pgx.QueryExecModeSimpleProtocol)
	_, _ = i.conn.Exec(ctx, "ROLLBACK", pgx.QueryExecModeSimpleProtocol) // a lost connection rolls back, too
	var refused *pgconn.PgError
	return !errors.As(err, &refused) || refused.Code != insufficientPrivilege
}

// comparePgDump sees whether the source's schema can be read. The version is 18 or 180006.
func comparePgDump(all catalog, source *facts, version int) []Finding {
	if version >= 10000 {
		version /= 10000
	}
	switch {
	case version == 0:
		return []Finding{all["S83"].finding(result{})}
	case source != nil && version < source.major:
		return []Finding{all["S77"].finding(result{values: map[string]string{"version": strconv.Itoa(version), "source": strconv.Itoa(source.major)}})}
	default:
		return nil
	}
}

// compare makes the checks that take both databases.
func compare(all catalog, source, target facts) []Finding {
	var findings []Finding
	report := func(id string, r result) { findings = append(findings, all[id].finding(r)) }

	if source.system != "" && source.system == target.system {
		report("T02", result{})
		return findings // everything else is the same
	}
	if target.major < source.major {
		report("S03", result{values: map[string]string{"source": strconv.Itoa(source.major), "target": strconv.Itoa(target.major)}})
	}
	var removed []string
	for n, name := range source.removed {
		if target.major >= int(source.removedIn[n]) {
			removed = append(removed, name)
		}
	}
	if len(removed) > 0 {
		report("S86", result{count: int64(len(removed)), names: removed, values: map[string]string{"source": strconv.Itoa(source.major), "target": strconv.Itoa(target.major)}})
	}
	findings = append(findings, compareExtensions(all, source, target)...)
	if source.encoding != "" && target.encoding != "" && source.encoding != target.encoding {
		report("S45", result{values: map[string]string{"source": source.encoding, "target": target.encoding}})
	}
	if source.collation != "" && target.collation != "" && sameSpelling(source.collation) != sameSpelling(target.collation) {
		report("S46", result{values: map[string]string{"source": source.collation, "target": target.collation}})
	}
	if source.foreignKeyBytes > foreignKeysMatter {
		id := "T08"
		if target.disableTriggers { // which does not spare the check
			id = "T26"
		}
		report(id, result{values: map[string]string{"detail": strconv.FormatInt(source.foreignKeyBytes>>30, 10) + " GB"}})
	}
	if source.lz4Columns > 0 && target.withoutLZ4 {
		report("T15", result{count: source.lz4Columns})
	}
	if id, needed := target.lockTable(source.openingLocks); id != "" {
		report(id, result{count: source.openingLocks, values: map[string]string{
			"detail": strconv.FormatInt(target.locksPerSlot, 10), "needed": strconv.FormatInt(needed, 10),
		}})
	}
	if missing, uses := missingRoles(source.policyRoles, target.roles); uses > 0 {
		report("T13", result{count: uses, names: missing, values: map[string]string{"subject": subject("Role", missing, "does", "do")}})
	}
	if missing, uses := missingRoles(source.mappingRoles, target.roles); uses > 0 {
		report("T22", result{count: uses, names: missing, values: map[string]string{"subject": subject("Role", missing, "does", "do")}})
	}
	if target.own {
		return findings // what is there was made by this migration
	}
	if same := withoutKind(intersection(source.names, target.names)); len(same) > 0 {
		report("T18", result{count: int64(len(same)), names: same, values: map[string]string{"detail": enumerated(same)}})
	}
	findings = append(findings, comparePrivileges(all, source, target)...)
	return findings
}

// lockTable gives the check that does not pass when so many locks are taken at once, and the setting that is needed. A server
// has more room than its settings say, as S80 knows, and others take locks, too.
func (f facts) lockTable(locks int64) (id string, needed int64) {
	entries := f.locksPerSlot * f.lockSlots
	switch {
	case entries == 0: // not known
		return "", 0
	case 10*locks > 18*entries+15000:
		id = "T24"
	case 10*locks > 7*entries:
		id = "T25"
	}
	return id, (10*locks/7 + f.lockSlots - 1) / f.lockSlots
}

// comparePrivileges looks for what the login must not create on the target.
func comparePrivileges(all catalog, source, target facts) []Finding {
	var findings []Finding
	report := func(id string, r result) { findings = append(findings, all[id].finding(r)) }

	var closed []string
	for _, schema := range intersection(source.schemas, target.schemas) {
		if !slices.Contains(target.creatable, schema) {
			closed = append(closed, schema)
		}
	}
	if len(closed) > 0 {
		report("T06", result{count: int64(len(closed)), names: closed, values: map[string]string{"subject": enumeration("schema", closed)}})
	}
	if slices.Contains(source.schemas, "public") && target.schemas != nil && !slices.Contains(target.schemas, "public") {
		report("T20", result{})
	}
	if target.superuser || target.usable == nil {
		return findings
	}
	if len(source.special) > 0 {
		report("S81", result{count: int64(len(source.special)), names: source.special})
	}
	var unusable []string
	servers := int64(0)
	for _, wrapper := range source.wrappers {
		if !slices.Contains(target.usable, wrapper) {
			servers++
			unusable = append(unusable, wrapper)
		}
	}
	if unusable = sortedSet(unusable); len(unusable) > 0 {
		report("T21", result{count: servers, names: unusable, values: map[string]string{"subject": enumeration("foreign data wrapper", unusable)}})
	}
	return findings
}

// missingRoles gives the roles in use that do not exist, and how many uses they have.
func missingRoles(used, existing []string) (missing []string, uses int64) {
	if len(existing) == 0 {
		return nil, 0 // there is no server without roles: they are not known
	}
	for _, role := range used {
		if !slices.Contains(existing, role) {
			uses++
			missing = append(missing, role)
		}
	}
	return sortedSet(missing), uses
}

// compareExtensions looks for the source's languages and extensions on the target.
func compareExtensions(all catalog, source, target facts) []Finding {
	if target.available == nil {
		return nil
	}
	var findings []Finding
	var languages, extensions, newer, older []string
	for _, language := range source.languages {
		_, available := target.available[language]
		if !available && !slices.Contains(target.languages, language) {
			languages = append(languages, language)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(source.extensions)) {
		if name == "plpgsql" || slices.Contains(languages, name) {
			continue
		}
		available, found := target.available[name]
		if installed, is := target.extensions[name]; is {
			available, found = installed, true
		}
		switch version := source.extensions[name]; {
		case !found:
			extensions = append(extensions, name)
		case isNewer(version, available):
			newer = append(newer, "'"+name+"' version "+version)
			older = append(older, available)
		}
	}
	if len(languages) > 0 {
		findings = append(findings, all["S39"].finding(result{count: int64(len(languages)), names: languages, values: map[string]string{"subject": subject("Language", languages, "is", "are")}}))
	}
	if len(extensions) > 0 {
		findings = append(findings, all["S40"].finding(result{count: int64(len(extensions)), names: extensions, values: map[string]string{"subject": subject("Extension", extensions, "is", "are")}}))
	}
	if len(newer) > 0 {
		findings = append(findings, all["S41"].finding(result{
			count: int64(len(newer)), names: newer,
			values: map[string]string{"detail": strings.Join(newer, ", "), "version": strings.Join(older, ", ")},
		}))
	}
	return findings
}

// isNewer compares versions of extensions. Those that are not numbers with dots it cannot compare.
func isNewer(a, b string) bool {
	left, right := strings.Split(a, "."), strings.Split(b, ".")
	for n := range max(len(left), len(right)) {
		var x, y int
		var err error
		if n < len(left) {
			if x, err = strconv.Atoi(left[n]); err != nil {
				return false
			}
		}
		if n < len(right) {
			if y, err = strconv.Atoi(right[n]); err != nil {
				return false
			}
		}
		if x != y {
			return x > y
		}
	}
	return false
}

// sameSpelling makes en_US.UTF-8 and en_US.utf8 equal.
func sameSpelling(collation string) string {
	return strings.ReplaceAll(strings.ToLower(collation), "-", "")
}

func sortedSet(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}

func intersection(a, b []string) []string {
	known := make(map[string]bool, len(a))
	for _, name := range a {
		known[name] = true
	}
	var same []string
	for _, name := range b {
		if known[name] {
			same = append(same, name)
		}
	}
	return sortedSet(same)
}

// subject makes "Role 'a' does" or "Roles 'a', 'b' do".
func subject(kind string, names []string, one, many string) string {
	if len(names) == 1 {
		many = one
	}
	return enumeration(kind, names) + " " + many
}

// enumeration makes "schema 'a'" or "schemas 'a', 'b'".
func enumeration(kind string, names []string) string {
	if len(names) == 1 {
		return kind + " " + quoted(names)
	}
	return kind + "s " + quoted(names)
}

// withoutKind takes the kind off names such as "relation public.a".
func withoutKind(names []string) []string {
	bare := make([]string, len(names))
	for n, name := range names {
		_, bare[n], _ = strings.Cut(name, " ")
	}
	return sortedSet(bare)
}

func quoted(names []string) string {
	return "'" + strings.Join(names, "', '") + "'"
}

// enumerated names a few for the text; the finding's names hold more.
func enumerated(names []string) string {
	const few = 5
	if len(names) > few {
		return strings.Join(names[:few], ", ") + ", ..."
	}
	return strings.Join(names, ", ")
}

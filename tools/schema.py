#!/usr/bin/env python3
"""schema/*.schema -> one C file of compact tables (src/schema/packed.h tells their layout). The format stands in schema/README.md.

    schema.py OUT.c FILE.schema...

Tables hold indexes instead of pointers, so that they live in shared read-only memory and cost no relocations; src/schema/tables.c unfolds them
in the processes that serve an API.
"""
import json
import os
import re
import shlex
import sys

KINDS = ['string', 'int32', 'int64', 'bool', 'double', 'bytes', 'object', 'array', 'map', 'quantity', 'intstr', 'time', 'microtime',
         'duration', 'fields', 'any']
KIND = {n: i for i, n in enumerate(KINDS)}
# What every kind has, said once: metadata, spec and status.
META_DOC = {'meta.v1.ObjectMeta': 'name, labels, annotations and what the server keeps of the object', 'meta.v1.ListMeta': 'revision and continuation of the list'}
PART_DOC = {'spec': 'what is wanted', 'status': 'what there is'}


def default_doc(row):
    """Of a field line without words of its own: (_, name, number, type, ...)."""
    own = row[1] in PART_DOC and row[3].lower().endswith(row[1])
    return META_DOC.get(row[3], '') or (PART_DOC[row[1]] if own else '')


FLAGS = {n: 1 << i for i, n in enumerate(['required', 'pointer', 'omitempty', 'nullable', 'immutable', 'map', 'set', 'atomic', 'merge',
                                          'retainKeys', 'replace', 'preserve', 'embedded', 'inline', 'listed', 'open'])}
VERBS = ['get', 'list', 'watch', 'create', 'update', 'patch', 'delete', 'deletecollection']
RESOURCE_FLAGS = {'namespaced': 1, 'status': 2, 'generation': 4, 'virtual': 8, 'hub': 16, 'cluster': 32}


class Fail(Exception):
    pass


class Strings:
    """Every distinct string once; index 0 is "absent"."""

    def __init__(self):
        self.index, self.all = {}, [b'']

    def add(self, s):
        if s is None:
            return 0
        b = s.encode()
        if b not in self.index:
            self.index[b] = len(self.all)
            self.all.append(b)
        return self.index[b]


class Lists:
    """Lists of string indexes; list 0 is empty."""

    def __init__(self):
        self.index, self.pool, self.rows = {(): 0}, [], [(0, 0)]

    def add(self, items):
        key = tuple(items)
        if key not in self.index:
            self.index[key] = len(self.rows)
            self.rows.append((len(self.pool), len(key)))
            self.pool.extend(key)
        return self.index[key]


class File:
    def __init__(self, path):
        self.name = os.path.basename(path)[:-len('.schema')]
        self.group = self.version = self.package = None
        self.types, self.enums, self.resources, self.hub_only = {}, {}, [], False


def cut_doc(line):
    m = re.search(r'(?:^|\s)-- (.*)$', line)
    return (line[:m.start()], m[1].strip()) if m else (line, None)


def parse(path):
    f = File(path)
    block = None
    for n, raw in enumerate(open(path, encoding='utf-8'), 1):
        line, doc = cut_doc(raw.rstrip('\n'))
        if not line.strip() or line.lstrip().startswith('#'):
            continue
        try:
            words = shlex.split(line, posix=True) if not re.match(r'\s+[^\s]+\s+\d+\s', line) else line.split()
            if line[0] != ' ':
                block = top(f, words, doc)
            elif block is None:
                raise Fail('a line that belongs to nothing')
            elif isinstance(block, dict) and 'resource' in block:
                resource_line(f, block, words)
            else:
                type_line(block, words, doc)
        except (Fail, ValueError, IndexError) as e:
            sys.exit('%s:%d: %s' % (path, n, e))
    for want in ('group', 'version', 'package'):
        if getattr(f, want) is None:
            sys.exit('%s: no "%s" line' % (path, want))
    return f


def top(f, w, doc):
    if w[0] == 'group':
        f.group = '' if w[1] == '-' else w[1]
    elif w[0] == 'version':
        f.version = w[1]
    elif w[0] == 'package':
        f.package = w[1]
    elif w[0] == 'hub-only':
        f.hub_only = True
    elif w[0] in ('enum', 'closed'):
        f.enums[w[1]] = (w[0], w[2:])
    elif w[0] == 'type':
        t = {'type': w[1], 'object': 'object' in w[2:], 'atomic': 'atomic' in w[2:], 'doc': doc, 'rows': [], 'file': f}
        f.types[w[1]] = t
        return t
    elif w[0] == 'resource':
        r = {'resource': w[1], 'kind': w[2], 'namespaced': w[3] == 'namespaced', 'singular': w[2].lower(), 'short': [], 'categories': [], 'verbs': 0,
             'fields': [], 'subs': [], 'columns': [], 'flags': set(), 'storage': None, 'file': f, 'hub': False}
        if w[3] not in ('namespaced', 'cluster'):
            raise Fail('scope must be namespaced or cluster')
        f.resources.append(r)
        return r
    else:
        raise Fail('unknown word "%s"' % w[0])
    return None


def verbs(text):
    bits = 0
    for v in text.split(','):
        add, sign = v, 1
        if v == 'all':
            bits |= 255
            continue
        if v == 'all-deletecollection':
            bits |= 127
            continue
        bits |= 1 << VERBS.index(add)
    return bits


def resource_line(f, r, w):
    k = w[0]
    if k == 'singular':
        r['singular'] = w[1]
    elif k in ('short', 'categories', 'fields'):
        r[k] = w[1:]
    elif k == 'verbs':
        r['verbs'] = verbs(w[1])
    elif k == 'storage':
        r['storage'] = (w[1], w[2])
    elif k in ('virtual', 'generation', 'hub'):
        r['flags'].add(k)
    elif k == 'sub':
        r['subs'].append((w[1], w[2], verbs(w[3]), w[4] if len(w) > 4 else None))
        if w[1] == 'status':
            r['flags'].add('status')
    elif k == 'column':
        c = {'name': w[1], 'type': w[2], 'format': None, 'path': None, 'priority': 0}
        for x in w[3:]:
            if x == 'wide':
                c['priority'] = 1
            else:
                key, _, v = x.partition('=')
                if key not in ('format', 'path'):
                    raise Fail('unknown column word "%s"' % x)
                c[key] = v
        r['columns'].append(c)
    else:
        raise Fail('unknown word "%s"' % k)


def type_line(t, w, doc):
    if w[0] == 'include':
        t['rows'].append(('include', w[1], int(w[2]), w[3]))
    else:
        t['rows'].append(('field', w[0], int(w[1]), w[2], w[3:], doc))


class Compiler:
    def __init__(self, files):
        self.files = {f.name: f for f in files}
        self.S, self.L = Strings(), Lists()
        self.types, self.type_index = [], {}
        self.fields, self.checks = [], [(0, 0, 0, 0, 0)]
        self.subs, self.columns, self.resources = [], [], []
        for f in files:
            for t in f.types.values():
                self.type_index[id(t)] = len(self.types) + 1
                self.types.append(t)

    def find(self, f, name, what):
        where = f
        if '.' in name:
            head, name = name.rsplit('.', 1)
            where = self.files.get(head)
            if where is None:
                raise Fail('no file %s.schema' % head)
        return where, getattr(where, what).get(name)

    def value(self, f, text):
        """-> kind, item, ref type (or None), enum (or None), nested element text (or None), extra flags"""
        if text == 'raw':
            return 'any', None, None, None, None, FLAGS['embedded']
        if text in KIND and text not in ('object', 'array', 'map'):
            return text, None, None, None, None, 0
        for prefix, kind in (('[]', 'array'), ('map[string]', 'map')):
            if text.startswith(prefix):
                inner = text[len(prefix):]
                k, item, ref, enum, elem, fl = self.value(f, inner)
                return kind, k, ref, enum, inner if k in ('array', 'map') or enum else None, fl
        if text == 'object':
            return 'object', None, None, None, None, 0
        where, t = self.find(f, text, 'types')
        if t:
            return 'object', None, t, None, None, 0
        where, e = self.find(f, text, 'enums')
        if e:
            return 'string', None, None, (e, text), None, 0
        raise Fail('unknown type "%s"' % text)

    def field(self, t, name, proto, text, words, doc, via=None):
        f = t['file']
        flags, keys, merge, dflt = 0, [], None, None
        lo = hi = None
        check = {'flags': 0, 'min': 0, 'max': 0, 'format': 0, 'pattern': 0}
        if text.startswith('*'):
            flags |= FLAGS['pointer']
            text = text[1:]
        zero = False
        for w in words:
            k, _, v = w.partition('=')
            if k == 'zero':
                zero = True
            elif k in ('required', 'listed', 'nullable', 'immutable', 'open', 'preserve'):
                flags |= FLAGS[k]
            elif k == 'atomic':
                flags |= FLAGS['atomic']
            elif k == 'list':
                mode, _, ks = v.partition(':')
                flags |= FLAGS[mode]
                keys = ks.split(',') if ks else []
            elif k == 'patch':
                modes, _, merge = v.partition(':')
                for m in modes.split('+'):
                    flags |= FLAGS[m]
                merge = merge or None
            elif k == 'default':
                json.loads(v)
                dflt = v
            elif k in ('min', 'max', 'minlen', 'maxlen', 'minitems', 'maxitems'):
                bit = {'min': 1, 'max': 2, 'minlen': 4, 'maxlen': 8, 'minitems': 16, 'maxitems': 32}[k]
                check['flags'] |= bit
                check['min' if k.startswith('min') else 'max'] = int(v)
            elif k == 'format':
                check['flags'] |= 64
                check['format'] = self.S.add(v)
            elif k == 'pattern':
                check['flags'] |= 128
                check['pattern'] = self.S.add(v)
            else:
                raise Fail('%s.%s: unknown word "%s"' % (t['type'], name, w))
        if not zero:
            flags |= FLAGS['omitempty']
        if via:
            flags |= FLAGS['inline']
        kind, item, ref, enum, elem, extra = self.value(f, text)
        flags |= extra
        c = 0
        if check['flags']:
            c = len(self.checks)
            self.checks.append((check['flags'], check['min'], check['max'], check['format'], check['pattern']))
        at = None
        if elem:
            e = self.field(t, name, 0, elem, [], None)
            at = len(self.fields)
            self.fields.append(e)
        if enum and enum[0][0] == 'closed':
            flags |= 0
        return {'name': self.S.add(name), 'kind': KIND[kind], 'item': KIND[item] if item else 0, 'proto': proto, 'flags': flags,
                'ref': self.type_index[id(ref)] if ref else 0, 'elem': at + 1 if at is not None else 0, 'via': self.S.add(via[0]) if via else 0,
                'via_proto': via[1] if via else 0, 'merge': self.S.add(merge), 'keys': self.L.add([self.S.add(k) for k in keys]),
                'dflt': self.S.add(dflt), 'enums': self.L.add([self.S.add(x) for x in enum[0][1]]) if enum else 0,
                'enum_name': self.S.add(enum[1].split('.')[-1]) if enum else 0, 'published': 1 if enum and enum[0][0] == 'enum' else 0,
                'check': c, 'doc': self.S.add(doc)}

    def rows(self, t, via=None):
        out = []
        for r in t['rows']:
            if r[0] == 'include':
                where, inc = self.find(t['file'], r[1], 'types')
                if not inc:
                    raise Fail('%s includes unknown %s' % (t['type'], r[1]))
                if via:
                    # twice inlined: protobuf nests as well; the path is written "a.b"
                    out += self.rows(inc, (via[0] + '.' + r[3], via[1] * 256 + r[2]))
                else:
                    out += self.rows(inc, (r[3], r[2]))
            else:
                out.append(self.field(t, r[1], r[2], r[3], r[4], r[5] or default_doc(r), via))
        return out

    def run(self):
        packed = []
        for t in self.types:
            rows = []
            if t['object']:
                for n, doc in (('kind', 'what sort of object this is'), ('apiVersion', 'group and version of the schema it follows')):
                    rows.append(self.field(t, n, 0, 'string', [], doc))
            rows += self.rows(t)
            first = len(self.fields)
            self.fields += rows
            packed.append((self.S.add(t['file'].package + '.' + t['type']), self.S.add(t['doc']), first, len(rows),
                           FLAGS['atomic'] if t['atomic'] else 0))
        self.packed_types = packed
        for f in self.files.values():
            for r in f.resources:
                self.resource(f, r)
        self.resources.sort(key=lambda r: r[0])
        return self

    def resource(self, f, r):
        S = self.S
        first_sub = len(self.subs)
        for name, body, v, kind in r['subs']:
            if body == '-':
                self.subs.append((S.add(name), S.add(f.group), S.add(f.version), S.add(kind), 0, v))
            else:
                where, t = self.find(f, body, 'types')
                if not t:
                    raise Fail('%s/%s: unknown body %s' % (r['resource'], name, body))
                self.subs.append((S.add(name), S.add(where.group), S.add(where.version), S.add(t['type']), self.type_index[id(t)], v))
        first_col = len(self.columns)
        for c in r['columns']:
            self.columns.append((S.add(c['name']), S.add(c['type']), S.add(c['format']), S.add(c['path']), c['priority']))
        t = f.types.get(r['kind'])
        if not t:
            raise Fail('%s: no type %s' % (r['resource'], r['kind']))
        flags = sum(RESOURCE_FLAGS[x] for x in r['flags']) + (1 if r['namespaced'] else 0)
        if f.hub_only:
            flags |= RESOURCE_FLAGS['hub']
        else:
            flags |= RESOURCE_FLAGS['cluster']
        st = r['storage'] or (f.group + '/' + r['resource'], f.version)
        self.resources.append(((f.group, f.version, r['resource']), [
            S.add(f.group), S.add(f.version), S.add(r['resource']), S.add(r['singular']), S.add(r['kind']), self.type_index[id(t)], r['verbs'], flags,
            self.L.add([S.add(x) for x in r['short']]), self.L.add([S.add(x) for x in r['categories']]), self.L.add([S.add(x) for x in r['fields']]),
            first_sub, len(r['subs']), first_col, len(r['columns']), S.add(st[0]), S.add(st[1])]))


def c_text(strings):
    out, line = [], ''
    for b in strings:
        s = ''.join('\\' + chr(c) if c in b'"\\?' else chr(c) if 32 <= c < 127 else '\\%03o' % c for c in b)
        if len(line) + len(s) > 150:
            out.append('    "%s"' % line)
            line = ''
        line += s
    out.append('    "%s"' % line)
    return '\n'.join(out)


def emit(c, path):
    o = ['/* Made by tools/schema.py from schema/. Not to be edited. */', '#include "schema/packed.h"', '']
    o += ['const char packed_text[] =', c_text(c.S.all) + ';', '']
    offs, at = [], 0
    for b in c.S.all:
        offs.append(at)
        at += len(b)
    offs.append(at)

    def array(ctype, name, rows):
        o.append('const %s %s[] = {' % (ctype, name))
        line = '   '
        for r in rows:
            s = ' %s,' % (r if isinstance(r, int) else '{' + ', '.join(str(x) for x in r) + '}')
            if len(line) + len(s) > 138:
                o.append(line)
                line = '   '
            line += s
        o.extend([line, '};'])

    array('uint32_t', 'packed_offsets', offs)
    array('uint16_t', 'packed_list_pool', c.L.pool or [0])
    array('struct packed_list', 'packed_lists', c.L.rows)
    array('struct packed_check', 'packed_checks', c.checks)
    order = ['name', 'dflt', 'doc', 'via', 'merge', 'enum_name', 'ref', 'elem', 'check', 'keys', 'enums', 'proto', 'via_proto', 'kind', 'item', 'published', 'flags']
    array('struct packed_field', 'packed_fields', [[f[k] for k in order] for f in c.fields])
    array('struct packed_type', 'packed_types', c.packed_types)
    array('struct packed_sub', 'packed_subs', c.subs or [[0] * 6])
    array('struct packed_column', 'packed_columns', c.columns or [[0] * 5])
    array('struct packed_resource', 'packed_resources', [r[1] for r in c.resources])
    o.append('const struct packed_counts packed_counts = {%d, %d, %d, %d, %d, %d, %d, %d};' % (
        len(c.S.all), len(c.L.rows), len(c.checks), len(c.fields), len(c.packed_types), len(c.subs), len(c.columns), len(c.resources)))
    for what, n in (('strings', len(c.S.all)), ('fields', len(c.fields)), ('list pool', len(c.L.pool))):
        if n > 65535:
            raise Fail('too many %s for 16-bit indexes' % what)
    with open(path, 'w', encoding='utf-8') as f:
        f.write('\n'.join(o) + '\n')


def main():
    try:
        emit(Compiler([parse(p) for p in sys.argv[2:]]).run(), sys.argv[1])
    except Fail as e:
        sys.exit('schema: %s' % e)


main()

#!/usr/bin/perl
# Governance by files: owners, bindings, settings; what each does, who may, and
# that it is there after a second start.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Mqfs;
use Errno qw(EINVAL ENOENT);
use Test::More;

my $m = Mqfs->start(autoCreateTopicEnable => 'false', autoCreateSubscriptionGroup => 'false', adminGroup => 'adm',
    enforceBindings => 'true');
my $mq = $m->{mnt};
my $last = "$mq/broker/last_error";
my $root = $> == 0;

# ---- topics ----
is(sh('mkdir $1/TopicA $1/TopicB', $mq), '', 'topics');
for (['read_queues', 6], ['write_queues', 5], ['perm', 4], ['order', 'true'], ['filter', 'MULTI_TAG'], ['type', 'FIFO']) {
    my ($name, $value) = @$_;
    is(sh('echo $2 > $1', "$mq/TopicA/$name", $value), '', "echo $value > $name");
    is(slurp("$mq/TopicA/$name"), "$value\n", '... shows');
}
ok(-d "$mq/TopicA/5" && !-d "$mq/TopicA/6", 'six read queues: 0 to 5');
is(sh('echo 2 > $1/read_queues; echo 2 > $1/write_queues; ls -d $1/[0-9]* | wc -l', "$mq/TopicA"), "2\n", 'fewer queues: fewer directories');
is(sh('echo 6 >> $1/perm; cat $1/perm', "$mq/TopicA"), "6\n", 'appending is writing');

# ---- attributes: changes, or all of them as they are read ----
my $attributes = "$mq/TopicA/attributes";
my $me = $root ? 'root' : getpwuid $>;
is(slurp($attributes), "message.type=FIFO\nmqfs.owner=$me\n", 'attributes: a line each');
is(sh('echo "+message.type=DELAY" > $1; cat $1 $2/type', $attributes, "$mq/TopicA"), "message.type=DELAY\nmqfs.owner=$me\nDELAY\n",
    '+key=value sets, and type shows it');
is(sh('echo FIFO > $2/type; cat $1', $attributes, "$mq/TopicA"), "message.type=FIFO\nmqfs.owner=$me\n", '... and the other way round');
is(sh('echo -message.type > $1; cat $1 $2/type', $attributes, "$mq/TopicA"), "mqfs.owner=$me\nNORMAL\n", '-key takes away');
is(sh('printf "message.type=FIFO\nmqfs.owner=%s\n" $2 > $1; cat $1', $attributes, $me), "message.type=FIFO\nmqfs.owner=$me\n", 'all of them');
is(sh('sed -i s/FIFO/TRANSACTION/ $1; cat $1', $attributes), "message.type=TRANSACTION\nmqfs.owner=$me\n", 'sed -i');
is(sh('echo mqfs.owner=$2 > $1; cat $1', $attributes, $me), "mqfs.owner=$me\n", 'what is not there any more is taken away');
is(sh('echo +message.type=FIFO > $1 && cp $1 $2/TopicB/attributes && cat $2/TopicB/attributes', $attributes, $mq),
    "message.type=FIFO\nmqfs.owner=$me\n", 'cp of attributes');
is(sh('stat -c %s $1', $attributes), length(slurp $attributes) . "\n", 'their size is true');
{
    my %topic = (topic => 'TopicB', defaultTopic => 'TBW102', readQueueNums => 4, writeQueueNums => 4, perm => 6,
        topicFilterType => 'SINGLE_TAG', topicSysFlag => 0, order => 'false');
    my $r = rpc($m->{port}, 17, {%topic, attributes => '+message.type=MIXED'});
    my $refusal = $r->{remark};
    isnt($r->{code}, 0, 'the wire refuses an attribute');
    is(put("$mq/TopicB/attributes", "+message.type=MIXED\n"), EINVAL, '... so does the tree');
    is(slurp($last), "/TopicB/attributes: $refusal\n", '... with the same sentence');
    is(rpc($m->{port}, 17, {%topic, attributes => '+message.type=DELAY'})->{code}, 0, 'the wire sets one');
    is(slurp("$mq/TopicB/attributes"), "message.type=DELAY\nmqfs.owner=$me\n", '... and the tree shows it');
}

# ---- groups and bindings ----
is(sh('mkdir $1/groups/g1 $1/producers/p1', $mq), '', 'groups');
my $bind = "$mq/groups/g1/bindings";
is(sh('echo > $1/TopicA && cat $1/TopicA', $bind), "*\n", 'echo > bindings/TopicA binds to *');
is(sh('ls $1', $bind), "TopicA\n", '... is listed');
is(sh('readlink $1/TopicA/groups/g1; cat $1/TopicA/groups/g1/enabled', $mq), "../../groups/g1\ntrue\n", '... TopicA/groups/g1 leads to it');
is(sh('echo "TagA || TagB" > $1/TopicA && cat $1/TopicA', $bind), "TagA || TagB\n", 'a text is the filter');
is(sh('touch $1/TopicA; : > $1/TopicA; cat $1/TopicA', $bind), "TagA || TagB\n", 'touch and an empty open change no filter');
is(sh('echo > $1/TopicA && cat $1/TopicA', $bind), "*\n", 'an empty write binds to * again');
is(sh('touch $1/TopicB && cat $1/TopicB', $bind), "*\n", 'touch binds');
is(sh('rm $1/TopicB && ls $1', $bind), "TopicA\n", 'rm unbinds');
is(sh(': > $1/TopicB && cat $1/TopicB && rm $1/TopicB', $bind), "*\n", ': > binds');
is(sh('printf %s TagZ > $1/TopicB && cat $1/TopicB && rm $1/TopicB', $bind), "TagZ\n", 'making with a filter at once');
is(sh('echo > $1/TopicA && cat $1/TopicA', "$mq/producers/p1/bindings"), "*\n", 'a producer group');

# ---- the broker keeps to it ----
my $r = send_message($m->{port}, 'TopicA', 0, 'x', producerGroup => 'p1');
is($r->{code}, 0, 'the bound producer group sends') or diag($r->{remark});
$r = send_message($m->{port}, 'TopicA', 0, 'x', producerGroup => 'stranger');
isnt($r->{code}, 0, '... another does not');
like($r->{remark}, qr{/producers/stranger.*/bindings/TopicA}, '... and is told which file would allow it');
is(slurp("$mq/TopicA/0/offset"), "1\n", '... and nothing was written');
$r = pull_messages($m->{port}, 'g1', 'TopicA', 0, 0);
is($r->{code}, 0, 'the bound group pulls') or diag($r->{remark});
is(sh('rm $1/TopicA', $bind), '', 'unbound:');
isnt(pull_messages($m->{port}, 'g1', 'TopicA', 0, 0)->{code}, 0, '... it does not pull any more');
is(sh('echo TagA > $1/TopicA', $bind), '', 'bound again');

# ---- settings of a group ----
for (['retry_max', 3], ['retry_queues', 2], ['enabled', 'false'], ['consume_from_min', 'false'], ['broadcast', 'false'], ['order', 'true'],
     ['notify', 'false'], ['consume_timeout', 20]) {
    my ($name, $value) = @$_;
    is(sh('echo $2 > $1 && cat $1', "$mq/groups/g1/$name", $value), "$value\n", "groups/g1/$name");
}

# ---- editors ----
is(sh('sed -i s/6/4/ $1/perm && cat $1/perm', "$mq/TopicA"), "4\n", 'sed -i changes a value');
is(sh('sed -i s/4/6/ $1/perm; cat $1/perm; ls -A $1 | grep sed', "$mq/TopicA"), "6\n", '... and leaves nothing behind');
is(sh('sed -i s/TagA/TagC/ $1/TopicA && cat $1/TopicA && ls -A $1', $bind), "TagC\nTopicA\n", 'sed -i of a binding');
like(sh('sed -i s/6/many/ $1/perm; cat $1/perm $2; rm -f $1/sed??????', "$mq/TopicA", $last),
    qr{cannot rename.*Invalid argument\n6\n/TopicA/perm: 'many' is not a number\n}, 'a value that is refused stays as it was');
like(sh('sed -i s/x/y/ $1/status; cat $2', "$mq/TopicA", $last), qr{status: .*only be read}, 'sed -i of what can only be read');
is(sh('cp $1/TopicA/perm $1/TopicA/.new && echo 4 > $1/TopicA/.new && mv $1/TopicA/.new $1/TopicA/perm && cat $1/TopicA/perm', $mq), "4\n",
    'a file written beside it, and moved onto it');
is(sh('echo TagQ > $1/.TopicB.x && mv $1/.TopicB.x $1/TopicB && cat $1/TopicB && rm $1/TopicB && ls -A $1', $bind), "TagQ\nTopicA\n",
    '... makes a binding');
is(sh('echo TagA > $1/TopicA; echo 6 > $2', $bind, "$mq/TopicA/perm"), '', '(as before)');
like(sh('echo x > $1/note; touch $1/0/.note; mkdir $1/.dir', "$mq/TopicA"), qr/(?:not permitted\n.*){2}/s, 'other files cannot be made');
{
    my $wrote = 0;
    if (open my $f, '>', "$mq/TopicA/.big") {
        while ((syswrite $f, 'x' x 65536) // 0) { last if ++$wrote > 100 }
    }
    is($wrote, 16, 'a scratch file has a limit of 1 MiB');
    is(-s "$mq/TopicA/.big", 1 << 20, '... which it has');
    ok(!rename("$mq/TopicA/.big", "$mq/TopicA/perm") && $!{EFBIG}, '... and a value a smaller one');
    ok(unlink("$mq/TopicA/.big"), '... removed');
}
SKIP: {
    my ($vim) = sh('command -v vim || command -v vim.tiny') =~ /^(\S+)$/m or skip 'no vim', 1;
    is(sh("$vim -u NONE" . ' -es -c "s/6/4/" -c wq $1/perm </dev/null >/dev/null 2>&1; cat $1/perm; echo 6 > $1/perm', "$mq/TopicA"), "4\n", 'vim');
}
SKIP: {
    skip 'no rsync', 1 if sh('command -v rsync') eq '';
    is(sh('mkdir $2/r && rsync -a $1/ $2/r/ && echo TagRR > $2/r/TopicA && rsync -rlp $2/r/ $1/ && cat $1/TopicA; echo TagA > $1/TopicA', $bind, $m->{dir}), "TagRR\n", 'rsync there and back');
}

# ---- configuration ----
is(sh('echo 3 > $1/defaultTopicQueueNums && cat $1/defaultTopicQueueNums', "$mq/broker/config"), "3\n", 'a live key');
is(sh('mkdir $1/TopicC && cat $1/TopicC/read_queues && rmdir $1/TopicC', $mq), "3\n", '... has its effect at once');

# ---- who may ----
SKIP: {
    skip 'owners need root', 30 if !$root;
    my $who = (getpwuid $>)[0];
    is(sh('stat -c "%U %G %a" $1/TopicA', $mq), "$who adm 775\n", 'the maker is the owner, the group is adminGroup');
    is(sh('chown daemon $1/TopicA $1/groups/g1 $1/producers/p1', $mq), '', 'chown hands over');
    is(sh('stat -c %U $1/TopicA $1/TopicA/perm $1/TopicA/0/messages $1/groups/g1/bindings $1/groups/g1/bindings/TopicA $1/producers/p1', $mq), "daemon\n" x 6, '... with all that is in it');
    is(as('daemon', 'daemon', 'echo 4 > $1/perm && cat $1/perm', "$mq/TopicA"), "4\n", 'the owner sets a value');
    is(as('daemon', 'daemon', 'sed -i s/4/6/ $1/perm && cat $1/perm', "$mq/TopicA"), "6\n", '... with sed -i');
    is(as('bin', 'adm', 'sed -i s/6/4/ $1/perm && cat $1/perm', "$mq/TopicA"), "4\n", '... as one of adminGroup does');
    like(as('bin', 'bin', 'echo 6 > $1/perm', "$mq/TopicA"), qr/Permission denied/, 'another does not');
    my $type = slurp("$mq/TopicA/type");
    is(as('daemon', 'daemon', 'echo +message.type=DELAY > $1/attributes; echo +mqfs.owner=daemon > $1/attributes; cat $1/attributes', "$mq/TopicA"),
        "message.type=DELAY\nmqfs.owner=daemon\n", 'the owner sets attributes');
    like(as('daemon', 'daemon', "echo $_ > \$1/attributes; cat \$2", "$mq/TopicA", $last), qr{^sh: .*error\n/TopicA/attributes: only root hands a topic over},
        "... but does not hand it over: $_") for '+mqfs.owner=bin', '-mqfs.owner', '+mqfs.owner=', 'mqfs.owner=bin';
    is(sh('echo +mqfs.owner=bin > $1/attributes; i=0; while [ $i -lt 100 ] && [ "$(stat -c %U $1)" != bin ]; do sleep 0.02; i=$((i + 1)); done; stat -c %U $1; chown daemon $1; echo $2 > $1/type; cat $1/attributes', "$mq/TopicA", $type =~ s/\n//r),
        "bin\nmessage.type=${type}mqfs.owner=daemon\n", '... root does, and chown shows');
    is(slurp("$mq/TopicA/perm"), "4\n", '... and nothing changed');
    is(as('bin', 'adm', 'echo 6 > $1/perm && cat $1/perm', "$mq/TopicA"), "6\n", 'one of adminGroup does');
    is(as('daemon', 'daemon', 'echo > $1/TopicB && cat $1/TopicB && rm $1/TopicB', $bind), "*\n", "the group's owner binds and unbinds");
    like(as('bin', 'bin', 'echo > $1/TopicB', $bind), qr/Permission denied/, 'another does not');
    like(as('bin', 'bin', 'rm -f $1/TopicA', $bind), qr/Permission denied/, '... nor unbinds');
    like(as('bin', 'bin', 'cat $1/TopicA/0/messages/*', $mq), qr/Permission denied|No such file/, 'strangers read no messages');
    is(as('daemon', 'daemon', 'cat $1/TopicA/0/messages/00000000000000000000', $mq), 'x', 'the owner reads them');
    is(as('bin', 'bin', 'cat $1/TopicA/0/offset', $mq), "1\n", 'all read offsets');
    like(as('bin', 'bin', 'mkdir $1/Mine', $mq), qr/Permission denied/, 'strangers make no topics');
    is(as('daemon', 'adm', 'mkdir $1/Mine && stat -c "%U" $1/Mine', $mq), "daemon\n", 'adminGroup makes topics; the maker owns');
    like(as('daemon', 'daemon', 'rmdir $1/Mine', $mq), qr/Permission denied/, 'removing one takes adminGroup');
    is(as('bin', 'adm', 'rmdir $1/Mine', $mq), '', '... which may');
    like(as('daemon', 'daemon', 'chown bin $1/TopicA', $mq), qr/not permitted/, 'owners do not give away: root does');
    like(sh('chgrp daemon $1/TopicA; cat $2', $mq, $last), qr/not permitted\n.*TopicA: .*adminGroup/s, 'the group is fixed, and last_error says why');
    like(sh('chown daemon $1/TopicA/perm; chown bin $1/TopicA/perm; cat $2', $mq, $last), qr/not permitted\n.*perm: .*chown its directory/s, 'a value has the owner of its topic');
    like(sh('chmod 777 $1/TopicA; cat $2', $mq, $last), qr/not permitted\n.*modes are fixed/s, 'modes are fixed');
    is(sh('chmod 775 $1/TopicA', $mq), '', '... setting what is there is no change');
    is(sh('chown 54321 $1/TopicB && stat -c %u $1/TopicB', $mq), "54321\n", 'an owner without a name keeps his number');
    is(as('bin', 'bin', 'cat $1', $last), "\n", "last_error is each user's own");
    like(as('bin', 'adm', 'echo x > $1/perm; cat $2', "$mq/TopicA", $last), qr{/TopicA/perm: .*not a number}, '... bin sees his');
    like(slurp($last), qr/modes are fixed/, '... root still sees his own');
    like(as('bin', 'bin', 'cat $1/broker/audit', $mq), qr/Permission denied/, 'the audit is not for all');
    like(slurp("$mq/broker/audit"), qr/"daemon".*TopicA/, 'the audit knows who did what');
}

# ---- a second start ----
ok($m->stop, 'stop');
$m->again;
is(sh('cat $1/TopicA/perm $1/TopicA/type $1/TopicA/read_queues $1/TopicA/0/offset', $mq), "6\nFIFO\n2\n1\n", 'the topic is there again');
is(sh('cat $1/groups/g1/bindings/TopicA $1/producers/p1/bindings/TopicA $1/groups/g1/retry_max', $mq), "TagA\n*\n3\n", 'the groups and bindings too');
is(slurp("$mq/broker/config/defaultTopicQueueNums"), "3\n", 'and the live key');
is(sh('stat -c %U $1/TopicA $1/groups/g1 $1/producers/p1', $mq), "daemon\n" x 3, 'and the owners') if $root;

# ---- removing ----
is(sh('rmdir $1/TopicB $1/groups/g1 $1/producers/p1', $mq), '', 'rmdir removes topics and groups, for all that stands in them');
is(sh('ls $1 $1/groups $1/producers', $mq) =~ s/.*\n\n//sr, "$mq/producers:\n", '... gone');
ok(!-e "$mq/TopicB", '... and not in a cache');
is(sh('mkdir $1/TopicB && cat $1/TopicB/perm', $mq), "6\n", 'the name can be used again');
ok($m->stop, 'a clean stop');
done_testing();

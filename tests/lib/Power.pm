# A disk whose power can be cut (tests/fault/powerfs.c), and what it is told; for tests that run as root.
#
#     use Power;
#     Power::possible();                   # or skips the test
#     my $p = Power->new;                  # mounted: $p->{disk}
#     $p->cut;                             # the power goes: what was not synced is forgotten, or half forgotten
#     $p->forget;                          # the same, and nothing of it is left
#     $p->back;                            # after the broker was killed: mounted again
package Power;
use strict;
use warnings;
use File::Temp qw(tempdir);
use IPC::Open2;
use Mqfs;
use Test::More;

my @all;
my $owner = $$;

sub possible {
    -e '/dev/fuse' or plan skip_all => 'no /dev/fuse';
    $> == 0 or plan skip_all => 'mounting powerfs needs root';
}

sub new {
    my $class = shift;
    my $top = tempdir('mqfs-fault-XXXXXX', TMPDIR => 1);
    my $self = bless {top => $top, disk => "$top/disk"}, $class;
    mkdir $self->{disk} or die $!;
    $self->{pid} = open2($self->{from}, $self->{to}, Mqfs::build() . '/tests/fault/powerfs', $self->{disk});
    $self->{to}->autoflush(1);
    push @all, $self;
    $self->back;
    return $self;
}

sub tell {
    my ($self, $line, $want) = @_;
    print { $self->{to} } "$line\n";
    my $answer = readline($self->{from}) // 'nothing';
    $answer =~ /^$want/ or BAIL_OUT("powerfs said $answer to $line");
    return $answer;
}

# Each gives how many changes there were that nobody had confirmed, and how many of them are lost.
sub cut { return shift->tell('cut ' . int rand 1e9, 'cut') =~ /(\d+) (\d+)/ }
sub forget { return shift->tell('forget', 'cut') =~ /(\d+) (\d+)/ }
sub back { shift->tell('mount', 'mounted') }

# The power first: a broker that waits for its disk cannot be killed.
END {
    if ($owner == $$) {
        local ($?, $@, $!);
        for my $p (@all) {
            close $p->{to};
            waitpid $p->{pid}, 0;
            system 'umount', '-l', $p->{disk} if grep { (split)[1] eq $p->{disk} } split /\n/, slurp('/proc/mounts');
            rmdir $p->{disk};
            system 'rm', '-rf', '--one-file-system', '--', $p->{top};
        }
    }
}

1;

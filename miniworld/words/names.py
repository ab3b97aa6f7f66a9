"""A thousand people and a hundred cats who have a name. Each word is one token of CLIP's vocabulary.

A first name alone is somebody; with a last name it is always another, and of those several share a first or a last.
"""

import itertools
import random

import torch

from ..drawing.identity import Cat, Person

WOMEN = """
emma anna maria laura julia alice lucy sophie olivia emily chloe grace hannah lily rose ruby ella mia zoe eva nina
clara amy kate jane lisa helen claire diana elena irene judy linda molly nora paula rachel sandra susan teresa vera
wendy angela betty carmen carol cindy donna fiona gloria heather joan karen leah carly katherine lara edith lillian
michelle alexa jessica sabrina amanda daphne bianca jennifer eileen connie lauren amelia cynthia lucia marilyn gina
constance abby yvonne miriam megan samantha laurie delia gwen monica cecilia greta margot dora dorothy jill sara
rebecca kristen francesca frances eleanor jamie valerie annie melanie peggy vanessa denise ingrid abigail ethel
chelsea tamara alyssa lorraine joyce tracy brittany kendra anastasia stephanie karla sylvia martha nancy norma ellen
mabel april daisy iris ivy hazel penny poppy violet stella sadie ada agnes bella bonnie celia charlotte christine
courtney crystal debbie ellie esther eve faith gemma holly jasmine jenna josie kelly kim kylie lana lena lola louise
lucille lydia mandy marie maya meg melissa millie minnie nadia naomi natalie natasha nell nicole octavia olga pam
pearl phoebe priscilla regina rita roberta robin rosa rosie sally selena serena sharon sheila sherry sonia sophia tara
tess tina ursula veronica vicky victoria vivian wanda willow winnie
""".split()  # noqa: SIM905
MEN = """
james john david michael peter robert thomas william george charles edward henry frank oscar jack leo max adam paul
simon mark luke daniel kevin brian eric martin oliver felix hugo ivan kurt marcus nathan patrick ralph samuel steven
tony walter andrew arthur bruce carl chris derek dylan ethan gary harry jason jesse joseph keith kyle larry lewis
louis marshall dustin bobby marco brent bryan arun douglas jeff dennis sanjay brandon otto ibrahim jeremy raymond
roberto roger bruno geoff joshua kenny leonard mario danny leonardo amir fernando jared pablo francisco sidney
geoffrey raul morris logan alejandro craig mateo willie louie jonathan kenneth steve alberto nigel isaac stephen seth
duncan ezra warren herman isaiah phil juan arnold shawn julio nelson abdul luca benjamin pierre miguel roland clark
liam barry lars anthony brett lionel bryce abraham tommy diego frankie carlos taylor vince greg jake garrett bernard
hassan gregory gabriel johnny abel alfred neil albert alan alex archie austin ben bernie bill billy blake bob brad
bradley caleb calvin cameron chad charlie chuck clayton cliff clive cody colin connor cooper damon darren dave dean
dominic don drew dwight earl eddie edgar edwin eli elliott ernest ernie evan floyd fred freddie gavin gene gerald
gilbert glen gordon graham grant gus guy harold harvey hector homer howard hudson hugh ian jackson jay jerome jerry
jim jimmy joe joel jordan josh julian justin ken kirk lance lee lenny leroy leslie lloyd luther malcolm marvin matt
maurice mel mick mike miles mitch moses murray ned nick noah norman omar orlando owen perry pete philip quentin randy
ray reggie rex richard rick ricky robbie rocky rod rodney ron ronnie ross roy rudy rufus rupert russell ryan sam scott
sean sebastian shane sherman spencer stan stanley stefan stuart ted terry theodore tim timothy toby todd tom travis
trevor troy tyler tyrone vernon vincent wade wayne wesley wilson zach
""".split()  # noqa: SIM905
LAST = """
bell smith jones brown wilson moore white harris thompson garcia martinez robinson lewis walker hall allen young king
wright hill green baker nelson carter mitchell turner phillips campbell parker evans edwards collins stewart morris
murphy cook rogers reed morgan cooper bailey kelly howard ward cox richardson wood watson brooks gray hughes price
myers long foster sanders ross powell sullivan fisher butler simmons patterson jordan reynolds hamilton graham wallace
west cole hayes bryant gibson ellis stevens ford marshall owens harrison cruz gomez murray freeman wells webb simpson
porter hunter hicks crawford boyd mason kennedy warren dixon burns gordon shaw holmes rice hunt black palmer knight
stone hawkins dunn perkins hudson spencer gardner payne pierce berry arnold wagner willis watkins olson carroll duncan
cunningham bradley lane andrews harper fox armstrong greene lawrence elliott sims austin peters franklin fields
chapman park wheeler banks day newton frost wolf swan rivers waters winters summers bishop abbott flynn lynch drake
""".split()  # noqa: SIM905
CAT_NAMES = """
tiger shadow smokey simba oreo pepper pumpkin ginger luna socks boots snowball misty coco cookie biscuit muffin peanut
honey cinnamon mocha latte pickles olive clover maple sunny storm rusty bandit pirate ziggy jasper milo loki thor zeus
apollo athena cleo pharaoh duchess princess prince bubbles button cheddar noodle sushi mango kiwi peach plum berry
cherry waffles pancake toffee caramel fudge truffle saffron basil juniper aspen jazz blues disco tango pixel comet
nova cosmo rocket jupiter mars pluto orion
""".split()  # noqa: SIM905


def name_all(seed: int = 1, alone: int = 330, full: int = 670) -> dict[str, Person]:
    """A person for every name, in their order."""
    chance, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    first = [(name, 1) for name in WOMEN] + [(name, 0) for name in MEN]
    chance.shuffle(first)
    names, rest = dict(first[:alone]), itertools.cycle(first[alone:])
    while len(names) < alone + full:
        name, woman = next(rest)
        names[f"{name} {chance.choice(LAST)}"] = woman
    return {name.title(): Person.draw(generator, woman) for name, woman in names.items()}


def name_cats(seed: int = 1) -> dict[str, Cat]:
    generator = torch.Generator().manual_seed(seed)
    return {name.title(): Cat.draw(generator) for name in CAT_NAMES}

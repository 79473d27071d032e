//! What other workers say to the connections of this one. On the `bus` thread:
//! nothing here waits, and none of the program's code runs.

use super::hub::Hub;
use super::news::Item;
use super::target::{Target, Who, media};
use crate::bus::{Deed, Kind, Message, Whom};

impl Hub {
    /// Carries a message out.
    pub(super) fn hear(&self, message: &Message) {
        match message.kind {
            Kind::Do(deed, whom) => self.hear_deed(deed, whom, message),
            Kind::Tell => {
                let topic = message.name().to_owned();
                self.hear_news(Item::Told(topic, message.body.clone()));
            }
            Kind::Gap => self.hear_news(Item::Missed),
            Kind::Ask => self.hear_question(message),
            Kind::Answer => self.questions().answered(message),
            // A fence is the reader's.
            Kind::Behind => {}
        }
    }

    fn hear_deed(&self, deed: Deed, whom: Whom, message: &Message) {
        let who = match whom {
            // The reader has seen that there is one.
            Whom::Conn => message.conn().map(Who::Conn),
            Whom::User => Some(Who::User(message.name())),
            Whom::Room => Some(Who::Room(message.name())),
            Whom::All => Some(Who::All),
        };
        let Some(who) = who else { return };
        let target = Target {
            hub: self,
            who,
            except: message.except,
        };
        let text = || str::from_utf8(&message.body).unwrap_or_default();
        let _counted_by_the_sender = match deed {
            Deed::Send => {
                let body = message.body.clone();
                target.push((message.id, body, media(message.form)), message.origin)
            }
            Deed::Close => target.close_here(message.id, text(), message.origin),
            Deed::Join => target.join_here(text()),
            Deed::Leave => target.leave_here(text()),
            Deed::Bind => target.bind_here(text()),
            Deed::Unbind => target.unbind_here(),
            Deed::Supplant => target.hub.hear_supplant(message),
        };
    }
}
